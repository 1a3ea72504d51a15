//===-- RaiseAttention.cpp - Attention with its cache and its mask ------------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/AttentionParts.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace sparse {
#define GEN_PASS_DEF_ONNXRAISEATTENTIONPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
/// A matched attention with everything that its canonical form needs.
struct Canonical {
  AttentionParts parts;
  Source query;
  Value key, value; // new rows, with their orders
  Order keyOrder, valueOrder;
  Value pastKey, pastValue;
  Value presentKey, presentValue; // as the graph has them
  int64_t kvHeads;
  double scale;
  Visibility visibility;
};

class Raiser {
public:
  Raiser(func::FuncOp func, int64_t maxContext) : func(func), evaluation(func, maxContext) {}

  LogicalResult run() {
    // All matches come before all rewrites: the evaluation knows the old function only.
    std::vector<Canonical> found;
    for (Operation &op : func.getOps()) {
      std::optional<AttentionParts> parts;
      if (isa<onnx::SoftmaxOp>(op))
        parts = matchDecomposed(evaluation, &op);
      else if (auto attention = dyn_cast<onnx::AttentionOp>(op); attention && !isCanonical(attention))
        parts = partsOfAttention(evaluation, &op);
      if (!parts)
        continue;
      FailureOr<Canonical> canonical = complete(std::move(*parts));
      if (failed(canonical))
        return failure();
      found.push_back(std::move(*canonical));
    }
    for (Canonical &canonical : found)
      rewrite(canonical);
    cleanUp(func);
    return success();
  }

private:
  bool isCanonical(onnx::AttentionOp op) {
    return evaluation.rank(op.getQ()) == 3 && isa<BlockArgument>(op.getPastKey()) && op.getIsCausal() == 1 &&
           isa<NoneType>(op.getAttnMask().getType()) && static_cast<int64_t>(op.getRightWindowSize()) <= 0;
  }

  FailureOr<Canonical> complete(AttentionParts parts) {
    Operation *op = parts.op;
    auto refuse = [&](const Twine &reason) -> FailureOr<Canonical> {
      return op->emitError("this attention can't be raised: ") << reason;
    };
    Canonical result{parts, {}, {}, {}, Order::BLHD, Order::BLHD, {}, {}, {}, {}, 0, parts.scale, {}};
    auto query = findSource(evaluation, parts.query, parts.queryOrder, parts.heads, parts.headDim);
    if (!query)
      return refuse("the queries are not heads of " + Twine(parts.headDim));
    result.query = *query;
    result.scale *= query->scale;

    std::string reason;
    auto attention = dyn_cast<onnx::AttentionOp>(op);
    bool found = attention && parts.mask.hasPast ? usePast(attention, result, reason) : findCaches(result, reason);
    if (!found)
      return refuse(reason);
    auto visibility = classifyMask(evaluation, parts.mask, reason);
    if (!visibility)
      return refuse("the mask " + reason);
    result.visibility = *visibility;
    return result;
  }

  /// The cache that an Attention takes and returns itself.
  bool usePast(onnx::AttentionOp attention, Canonical &result, std::string &reason) {
    const AttentionParts &parts = result.parts;
    reason = "the past key and value must be inputs of the model";
    if (!isa<BlockArgument>(attention.getPastKey()) || !isa<BlockArgument>(attention.getPastValue()))
      return false;
    reason = "the keys and values are not heads of constant width";
    auto key = findSource(evaluation, parts.key, parts.keyOrder, parts.keyHeads, parts.headDim);
    auto value = findSource(evaluation, parts.value, parts.valueOrder, parts.keyHeads, parts.valueDim);
    if (!key || !value)
      return false;
    // A factor is part of what the cache keeps.
    result.key = key->scale == 1.0 ? key->value : parts.key;
    result.keyOrder = key->scale == 1.0 ? key->order : parts.keyOrder;
    result.value = value->scale == 1.0 ? value->value : parts.value;
    result.valueOrder = value->scale == 1.0 ? value->order : parts.valueOrder;
    result.pastKey = attention.getPastKey();
    result.pastValue = attention.getPastValue();
    result.presentKey = attention.getPresentKey();
    result.presentValue = attention.getPresentValue();
    result.kvHeads = parts.keyHeads;
    return true;
  }

  /// The cache that stands before the operator, as Concats.
  bool findCaches(Canonical &result, std::string &reason) {
    const AttentionParts &parts = result.parts;
    auto key = findCache(evaluation, parts.key, parts.keyOrder, parts.keyHeads, parts.headDim, reason);
    if (!key) {
      reason = "the keys " + reason;
      return false;
    }
    auto value = findCache(evaluation, parts.value, parts.valueOrder, parts.keyHeads, parts.valueDim, reason);
    if (!value) {
      reason = "the values " + reason;
      return false;
    }
    if (key->heads != value->heads || value->scale != 1.0) {
      reason = "keys and values differ in their number of heads, or the values are scaled after the cache";
      return false;
    }
    result.scale *= key->scale;
    result.key = key->fresh;
    result.keyOrder = key->freshOrder;
    result.value = value->fresh;
    result.valueOrder = value->freshOrder;
    result.pastKey = key->past;
    result.pastValue = value->past;
    result.presentKey = key->present;
    result.presentValue = value->present;
    result.kvHeads = key->heads;
    return true;
  }

  /// `value`, ordered by `order`, as [batch, sequence, heads * dim].
  Value asRows(OpBuilder &builder, Location loc, Value value, Order order, int64_t heads, int64_t dim) {
    if (order == Order::BLHD)
      return evaluation.rank(value) == 3 && evaluation.hasConstantExtent(value, 2, heads * dim)
                 ? value
                 : makeReshape(builder, loc, value, {0, 0, heads * dim});
    return mergeHeads(builder, loc, value, heads, dim);
  }

  void rewrite(Canonical &c) {
    Operation *op = c.parts.op;
    OpBuilder builder(op);
    Location loc = op->getLoc();
    Value query = asRows(builder, loc, c.query.value, c.query.order, c.parts.heads, c.parts.headDim);
    Value key = asRows(builder, loc, c.key, c.keyOrder, c.kvHeads, c.parts.headDim);
    Value value = asRows(builder, loc, c.value, c.valueOrder, c.kvHeads, c.parts.valueDim);
    Value none = onnx::NoValueOp::create(builder, loc, builder.getNoneType());
    Type type = UnrankedTensorType::get(getElementTypeOrSelf(query));
    SmallVector<NamedAttribute> attrs;
    auto set = [&](StringRef name, Attribute attr) { attrs.push_back(builder.getNamedAttr(name, attr)); };
    set("is_causal", builder.getI64IntegerAttr(1));
    set("q_num_heads", builder.getI64IntegerAttr(c.parts.heads));
    set("kv_num_heads", builder.getI64IntegerAttr(c.kvHeads));
    set("scale", builder.getF32FloatAttr(c.scale));
    if (c.parts.softcap != 0)
      set("softcap", builder.getF32FloatAttr(c.parts.softcap));
    if (c.visibility.leftWindow >= 0)
      set("left_window_size", builder.getI64IntegerAttr(c.visibility.leftWindow));
    auto attention = onnx::AttentionOp::create(builder, loc, {type, type, type, builder.getNoneType()},
                                               {query, key, value, none, c.pastKey, c.pastValue, none}, attrs);
    Value result = attention.getY();
    if (c.parts.queryOrder == Order::BHLD)
      result = splitHeads(builder, loc, result, c.parts.heads, c.parts.valueDim);
    c.parts.result.replaceAllUsesWith(result);
    // Shape arithmetic may read the old caches before this place; it is dead once its readers are gone.
    auto isReturn = [](OpOperand &use) { return isa<func::ReturnOp>(use.getOwner()); };
    if (isa<TensorType>(c.presentKey.getType()))
      c.presentKey.replaceUsesWithIf(attention.getPresentKey(), isReturn);
    if (isa<TensorType>(c.presentValue.getType()))
      c.presentValue.replaceUsesWithIf(attention.getPresentValue(), isReturn);
  }

  func::FuncOp func;
  Evaluation evaluation;
};

struct RaiseAttention : sparse::impl::OnnxRaiseAttentionPassBase<RaiseAttention> {
  using Base::Base;
  void runOnOperation() override {
    for (func::FuncOp func : functionsOf(getOperation()))
      if (failed(Raiser(func, maxContext).run()))
        return signalPassFailure();
  }
};
} // namespace
