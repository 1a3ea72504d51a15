//===-- CanonicalInterface.cpp - Arguments, results and types of @main --------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXCANONICALINTERFACEPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
/// One argument or result of the canonical signature.
struct Port {
  std::string name;
  Value value; // the old argument, or what is returned; null for an argument to add
};

/// Makes `present_key` and `present_value` results of `op` when it was written without them.
onnx::AttentionOp withPresent(onnx::AttentionOp op) {
  if (isa<TensorType>(op.getPresentKey().getType()) && isa<TensorType>(op.getPresentValue().getType()))
    return op;
  OpBuilder builder(op);
  SmallVector<Type> types(op->getResultTypes());
  types[1] = UnrankedTensorType::get(cast<TensorType>(op.getK().getType()).getElementType());
  types[2] = UnrankedTensorType::get(cast<TensorType>(op.getV().getType()).getElementType());
  auto full = onnx::AttentionOp::create(builder, op.getLoc(), types, op->getOperands(), op->getAttrs());
  op->replaceAllUsesWith(full->getResults());
  op->erase();
  return full;
}

class Interface {
public:
  explicit Interface(func::FuncOp func) : func(func) {}

  LogicalResult run() {
    for (onnx::AttentionOp op : llvm::to_vector(func.getOps<onnx::AttentionOp>()))
      attentions.push_back(withPresent(op));
    if (failed(collectArguments()) || failed(collectResults()))
      return failure();
    setRankedTypes(func);
    rewriteResults();
    return rewriteArguments();
  }

private:
  LogicalResult collectArguments();
  LogicalResult collectResults();
  void rewriteResults();
  LogicalResult rewriteArguments();

  func::FuncOp func;
  SmallVector<onnx::AttentionOp> attentions;
  SmallVector<Port> arguments, results;
};

LogicalResult Interface::collectArguments() {
  Value ids, positions;
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    if (inputKind(func, i) == Input::InputIds)
      ids = func.getArgument(i);
    if (inputKind(func, i) == Input::PositionIds)
      positions = func.getArgument(i);
  }
  if (!ids)
    return func.emitError("has no input of token ids: a rank-2 integer tensor that gathers rows of the embedding");
  arguments = {{"input_ids", ids}, {"position_ids", positions}};
  llvm::DenseSet<Value> caches;
  for (auto [layer, op] : llvm::enumerate(attentions)) {
    std::string prefix = "past_key_values." + std::to_string(layer);
    for (auto [past, part] : {std::pair(op.getPastKey(), ".key"), std::pair(op.getPastValue(), ".value")}) {
      if (!isa<BlockArgument>(past))
        return op.emitError("this attention has no cache: its past key and past value must be inputs of the model");
      if (!caches.insert(past).second)
        return op.emitError("this attention shares its cache input with another layer");
      arguments.push_back({prefix + part, past});
    }
  }
  return success();
}

LogicalResult Interface::collectResults() {
  llvm::DenseSet<Value> presents;
  SmallVector<Port> cacheResults;
  for (auto [layer, op] : llvm::enumerate(attentions)) {
    std::string prefix = "present." + std::to_string(layer);
    cacheResults.push_back({prefix + ".key", op.getPresentKey()});
    cacheResults.push_back({prefix + ".value", op.getPresentValue()});
    presents.insert(op.getPresentKey());
    presents.insert(op.getPresentValue());
  }
  Operation *terminator = func.getBody().front().getTerminator();
  for (Value returned : terminator->getOperands()) {
    if (presents.contains(returned))
      continue;
    if (!results.empty()) {
      Location loc = returned.getDefiningOp() ? returned.getDefiningOp()->getLoc() : func.getLoc();
      return mlir::emitError(loc, "this result of the model is neither the logits nor the cache of a layer");
    }
    results.push_back({"logits", returned});
  }
  if (results.empty())
    return func.emitError("returns no logits");
  results.append(cacheResults);
  return success();
}

void Interface::rewriteResults() {
  SmallVector<Value> values;
  SmallVector<Attribute> attrs;
  Builder builder(func.getContext());
  for (const Port &port : results) {
    values.push_back(port.value);
    attrs.push_back(builder.getDictionaryAttr(builder.getNamedAttr("onnx.name", builder.getStringAttr(port.name))));
  }
  func.getBody().front().getTerminator()->setOperands(values);
  func.setType(builder.getFunctionType(func.getArgumentTypes(), ValueRange(values).getTypes()));
  func.setResAttrsAttr(builder.getArrayAttr(attrs));
}

LogicalResult Interface::rewriteArguments() {
  Builder builder(func.getContext());
  unsigned old = func.getNumArguments();
  Type idsType = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, builder.getI64Type());
  for (Port &port : arguments) {
    Type type = idsType;
    if (port.value && isa<FloatType>(getElementTypeOrSelf(port.value))) {
      auto given = cast<RankedTensorType>(port.value.getType());
      SmallVector<int64_t> shape(given.getShape());
      shape[0] = shape[2] = ShapedType::kDynamic;
      type = RankedTensorType::get(shape, given.getElementType());
    }
    auto attrs = builder.getDictionaryAttr(builder.getNamedAttr("onnx.name", builder.getStringAttr(port.name)));
    unsigned index = func.getNumArguments();
    (void)func.insertArgument(index, type, attrs, port.value ? port.value.getLoc() : func.getLoc());
    if (port.value)
      port.value.replaceAllUsesWith(func.getArgument(index));
  }
  cleanUp(func);
  llvm::BitVector erased(func.getNumArguments());
  for (unsigned i = 0; i < old; ++i) {
    BlockArgument argument = func.getArgument(i);
    if (!argument.use_empty()) {
      Operation *user = *argument.user_begin();
      return user->emitError("this node still reads input '")
             << inputName(func, i) << "', which has no place in canonical form (input_ids, position_ids, caches)";
    }
    erased.set(i);
  }
  return func.eraseArguments(erased);
}

struct CanonicalInterface : sparse::impl::OnnxCanonicalInterfacePassBase<CanonicalInterface> {
  void runOnOperation() override {
    for (func::FuncOp func : functionsOf(getOperation())) {
      cleanUp(func);
      if (failed(Interface(func).run()))
        return signalPassFailure();
    }
    eraseDeadWeights(getOperation());
  }
};
} // namespace
