//===-- ConvertToLinalg.cpp - Bodies of kernels to linalg on tensors ----------------------------------------------===//
#include "passes/ToLinalg/Elementwise.h"
#include "passes/ToLinalg/Lowering.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

namespace sparse {
#define GEN_PASS_DEF_CONVERTTOLINALGPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace sparse;
using namespace sparse::lowering;

namespace {

/// The tensors that a type expands to: the components of a layer, or the type itself.
SmallVector<Type> expand(Type type) {
  auto layer = dyn_cast<kvcache::LayerType>(type);
  if (!layer)
    return {type};
  SmallVector<Type> types;
  for (auto &component : layer.getLayout().getComponents())
    types.push_back(component.tensor);
  return types;
}

/// Strategies whose kernels are emitted from their ops, not from linalg.
bool isTemplate(sparsity::Strategy strategy) {
  return strategy == sparsity::Strategy::Simt || strategy == sparsity::Strategy::Mma;
}

class ConvertToLinalg : public sparse::impl::ConvertToLinalgPassBase<ConvertToLinalg> {
public:
  using ConvertToLinalgPassBase::ConvertToLinalgPassBase;

  void runOnOperation() override {
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (func->hasAttr("plan.kind") && failed(convert(func)))
        return signalPassFailure();
  }

private:
  LogicalResult convert(func::FuncOp func);
  LogicalResult convert(plan::KernelOp kernel, DenseMap<Value, SmallVector<Value>> &outer);
  LogicalResult lowerBody(plan::KernelOp kernel, Emitter &e, KernelContext &k);
  void keepForDevice(plan::KernelOp kernel, Block *body, DenseMap<Value, SmallVector<Value>> &outer,
                     ArrayRef<Value> operands);
};

} // namespace

/// A kernel that a template emits keeps its ops: a cache state comes back from its components by a cast. State changes in
/// place, so its results are its operands.
void ConvertToLinalg::keepForDevice(plan::KernelOp kernel, Block *body, DenseMap<Value, SmallVector<Value>> &outer,
                                    ArrayRef<Value> operands) {
  OpBuilder b(kernel);
  b.setInsertionPointToStart(body);
  IRMapping map;
  DenseMap<Value, std::pair<unsigned, unsigned>> expanded; // argument of the old body -> operands [first, last)
  unsigned next = 0;
  for (BlockArgument arg : kernel.getBlock()->getArguments()) {
    unsigned first = next;
    next += expand(arg.getType()).size();
    expanded[arg] = {first, next};
    Value mapped = body->getArgument(first);
    if (isa<kvcache::LayerType>(arg.getType()))
      mapped = UnrealizedConversionCastOp::create(b, kernel.getLoc(), arg.getType(),
                                                  body->getArguments().slice(first, next - first))
                   .getResult(0);
    map.map(arg, mapped);
  }
  for (Operation &op : kernel.getBlock()->without_terminator())
    b.clone(op, map)->removeAttr("sparsity.site"); // layers share kernels
  // Which operands a yielded value is the update of; none for a fresh value.
  auto updated = [&](Value value) -> std::pair<unsigned, unsigned> {
    auto append = value.getDefiningOp<kvcache::AppendOp>();
    if (append && value == append.getNewStatus())
      return expanded.lookup(append.getStatus());
    if (auto sample = value.getDefiningOp<sparsity::SampleOp>())
      if (Value tied = sample.getTied(value))
        return expanded.lookup(tied);
    if (isa<kvcache::LayerType>(value.getType()))
      for (BlockArgument arg : kernel.getBlock()->getArguments())
        if (arg.getType() == value.getType())
          return expanded.lookup(arg);
    return {0, 0};
  };
  SmallVector<Value> yields;
  SmallVector<Value> fresh;
  for (auto [result, value] : llvm::zip(kernel.getResults(), kernel.getBlock()->getTerminator()->getOperands())) {
    auto [first, last] = updated(value);
    for (unsigned i = first; i < last; ++i)
      outer[result].push_back(operands[i]);
    if (first == last) {
      yields.push_back(map.lookup(value));
      fresh.push_back(result);
    }
  }
  plan::YieldOp::create(b, kernel.getLoc(), yields);
  b.setInsertionPoint(kernel);
  SmallVector<int64_t> ties(yields.size(), -1);
  auto kept = plan::KernelOp::create(b, kernel.getLoc(), ValueRange(yields).getTypes(), kernel.getNameAttr(), operands,
                                     b.getDenseI64ArrayAttr(ties));
  kept->setDiscardableAttrs(kernel->getDiscardableAttrDictionary());
  kept.getBody().push_back(body);
  for (auto [result, value] : llvm::zip(fresh, kept.getResults()))
    outer[result].push_back(value);
}

/// Replaces the entry's layer arguments by components and its kernels by lowered ones. Only the output is returned:
/// state changes in place.
LogicalResult ConvertToLinalg::convert(func::FuncOp func) {
  Block &block = func.front();
  DenseMap<Value, SmallVector<Value>> outer;
  SmallVector<Attribute> argAttrs;
  unsigned old = block.getNumArguments();
  Builder builder(&getContext());
  int64_t layerIndex = 0;
  SmallVector<DictionaryAttr> attrs;
  for (unsigned i = 0; i < old; ++i) {
    BlockArgument arg = block.getArgument(i);
    auto layer = dyn_cast<kvcache::LayerType>(arg.getType());
    if (!layer) {
      outer[arg] = {block.addArgument(arg.getType(), arg.getLoc())};
      attrs.push_back(func.getArgAttrDict(i));
      continue;
    }
    SmallVector<Value> values;
    for (auto &component : layer.getLayout().getComponents()) {
      values.push_back(block.addArgument(component.tensor, arg.getLoc()));
      NamedAttrList dict;
      dict.set("plan.layer", builder.getI64IntegerAttr(layerIndex));
      dict.set("plan.name", builder.getStringAttr(component.name));
      dict.set("plan.layout", layer.getLayout());
      attrs.push_back(dict.getDictionary(&getContext()));
    }
    ++layerIndex;
    outer[arg] = values;
  }
  SmallVector<plan::KernelOp> kernels(block.getOps<plan::KernelOp>());
  for (plan::KernelOp kernel : kernels)
    if (failed(convert(kernel, outer)))
      return failure();

  Operation *ret = block.getTerminator();
  SmallVector<Value> outputs;
  SmallVector<Type> outputTypes;
  SmallVector<DictionaryAttr> resultAttrs;
  for (auto [index, value] : llvm::enumerate(ret->getOperands())) {
    if (!func.getResultAttr(index, "plan.name"))
      continue;
    outputs.push_back(outer.contains(value) ? outer[value].front() : value);
    outputTypes.push_back(value.getType());
    resultAttrs.push_back(func.getResultAttrDict(index));
  }
  ret->setOperands(outputs);
  for (plan::KernelOp kernel : llvm::reverse(kernels))
    kernel.erase();
  block.eraseArguments(0, old);
  func.setFunctionType(builder.getFunctionType(block.getArgumentTypes(), outputTypes));
  func.setAllArgAttrs(attrs);
  func.setAllResultAttrs(resultAttrs);
  return success();
}

LogicalResult ConvertToLinalg::convert(plan::KernelOp kernel, DenseMap<Value, SmallVector<Value>> &outer) {
  OpBuilder b(kernel);
  SmallVector<Value> operands;
  SmallVector<Type> types;
  SmallVector<Location> locs;
  for (Value input : kernel.getInputs()) {
    if (!outer.contains(input))
      outer[input] = {input}; // a weight
    llvm::append_range(operands, outer[input]);
  }
  for (Value operand : operands) {
    types.push_back(operand.getType());
    locs.push_back(kernel.getLoc());
  }

  // Lower into a detached block: the result types are known only afterwards.
  auto body = std::make_unique<Block>();
  body->addArguments(types, locs);
  b.setInsertionPointToStart(body.get());
  KernelContext context;
  if (auto config = kernel->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config")) {
    if (isTemplate(config.getStrategy())) {
      keepForDevice(kernel, body.release(), outer, operands);
      return success();
    }
    context.tiles = config.getTiles().asArrayRef();
  }
  unsigned next = 0;
  for (BlockArgument arg : kernel.getBlock()->getArguments())
    for ([[maybe_unused]] Type type : expand(arg.getType()))
      context.values[arg].push_back(body->getArgument(next++));
  Emitter e(b, kernel.getLoc());
  if (failed(lowerBody(kernel, e, context)))
    return failure();

  // Unchanged components are the operands themselves; the others tie to them.
  SmallVector<Value> yields;
  SmallVector<int64_t> ties;
  SmallVector<std::pair<Value, SmallVector<int64_t>>> results; // old result -> yield index, or ~operand index
  auto yield = kernel.getBlock()->getTerminator();
  for (auto [result, value] : llvm::zip(kernel.getResults(), yield->getOperands())) {
    SmallVector<int64_t> where;
    SmallVector<Value> before;
    if (isa<kvcache::LayerType>(value.getType())) {
      // The state before is the kernel's only layer operand: its arguments, not their updates.
      unsigned at = 0;
      for (BlockArgument arg : kernel.getBlock()->getArguments())
        for ([[maybe_unused]] Type type : expand(arg.getType())) {
          if (arg.getType() == value.getType())
            before.push_back(body->getArgument(at));
          ++at;
        }
    } else {
      before.push_back(context.tie.lookup(value));
    }
    for (auto [now, old] : llvm::zip(context.values[value], before)) {
      auto arg = dyn_cast_or_null<BlockArgument>(old);
      if (arg && now == old) {
        where.push_back(~static_cast<int64_t>(arg.getArgNumber()));
        continue;
      }
      where.push_back(yields.size());
      yields.push_back(now);
      ties.push_back(arg ? static_cast<int64_t>(arg.getArgNumber()) : -1);
    }
    results.push_back({result, where});
  }
  plan::YieldOp::create(b, kernel.getLoc(), yields);
  b.setInsertionPoint(kernel);
  auto lowered = plan::KernelOp::create(b, kernel.getLoc(), ValueRange(yields).getTypes(), kernel.getNameAttr(),
                                        operands, b.getDenseI64ArrayAttr(ties));
  lowered->setDiscardableAttrs(kernel->getDiscardableAttrDictionary());
  lowered.getBody().push_back(body.release());
  for (auto &[result, where] : results)
    for (int64_t place : where)
      outer[result].push_back(place < 0 ? operands[~place] : lowered.getResult(place));
  return success();
}

/// Lowers one op that is neither linear nor elementwise.
static LogicalResult lowerOne(Emitter &e, KernelContext &k, Operation *op) {
  bool known = llvm::TypeSwitch<Operation *, bool>(op)
          .Case([&](sparsity::EmbedOp op) { return lowerEmbed(e, k, op), true; })
          .Case([&](onnx::RMSNormalizationOp op) { return lowerNorm(e, k, op), true; })
          .Case([&](onnx::RotaryEmbeddingOp op) { return lowerRope(e, k, op), true; })
          .Case([&](sparsity::AttendOp op) { return lowerAttend(e, k, op), true; })
          .Case([&](sparsity::AttendPartOp op) { return lowerAttendPart(e, k, op), true; })
          .Case([&](sparsity::CombineOp op) { return lowerCombine(e, k, op), true; })
          .Case([&](sparsity::MassOp op) { return lowerMass(e, k, op), true; })
          .Case([&](sparsity::MassOfScoresOp op) { return lowerMassOfScores(e, k, op), true; })
          .Case([&](sparsity::SampleOp op) { return lowerSample(e, k, op), true; })
          .Case([&](sparsity::ScoreOp op) { return lowerScore(e, k, op), true; })
          .Case([&](sparsity::SelectOp op) { return lowerSelect(e, k, op), true; })
          .Case([&](sparsity::NearestPartOp op) { return lowerNearestPart(e, k, op), true; })
          .Case([&](sparsity::MatchOp op) { return lowerMatch(e, k, op), true; })
          .Case([&](sparsity::MergeOp op) { return lowerMerge(e, k, op), true; })
          .Case([&](sparsity::MatchChosenOp op) { return lowerMatchChosen(e, k, op), true; })
          .Case([&](sparsity::SettleOp op) { return lowerSettle(e, k, op), true; })
          .Case([&](sparsity::MergeChosenOp op) { return lowerMergeChosen(e, k, op), true; })
          .Case([&](sparsity::SpreadOp op) { return lowerSpread(e, k, op), true; })
          .Case([&](sparsity::ShareBudgetOp op) { return lowerShareBudget(e, k, op), true; })
          .Case([&](sparsity::SetBudgetOp op) { return lowerSetBudget(e, k, op), true; })
          .Case([&](kvcache::AppendOp op) { return lowerAppend(e, k, op), true; })
          .Case([&](kvcache::CompressOp op) { return lowerCompress(e, k, op), true; })
          .Case([&](kvcache::RebuildOp op) { return lowerRebuild(e, k, op), true; })
          .Case([&](kvcache::ChooseOp op) { return lowerChoose(e, k, op), true; })
          .Case([&](kvcache::GatherOp op) { return lowerGather(e, k, op), true; })
          .Case([&](kvcache::PlaceOp op) { return lowerPlace(e, k, op), true; })
          .Default([](Operation *) { return false; });
  return success(known);
}

LogicalResult ConvertToLinalg::lowerBody(plan::KernelOp kernel, Emitter &e, KernelContext &k) {
  SmallVector<Operation *> ops;
  for (Operation &op : kernel.getBlock()->without_terminator())
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
      k.set(slice, tensor::ExtractSliceOp::create(e.b, e.loc, slice.getType(), k[slice.getSource()],
                                                  slice.getMixedOffsets(), slice.getMixedSizes(),
                                                  slice.getMixedStrides()));
    else if (!isa<onnx::ConstantOp>(op))
      ops.push_back(&op);
  // Usually one op, with elementwise ops after it; more where kernels were fused for a GPU.
  for (ArrayRef<Operation *> rest = ops; !rest.empty();) {
    Operation *op = rest.front();
    auto linear = dyn_cast<sparsity::LinearOp>(op);
    if (linear || isElementwise(op)) {
      ArrayRef<Operation *> epilogue = linear ? rest.drop_front() : rest;
      epilogue = epilogue.take_while([](Operation *next) { return isElementwise(next); });
      if (failed(lowerLinear(e, k, linear, epilogue)))
        return failure();
      rest = rest.drop_front(epilogue.size() + (linear ? 1 : 0));
      continue;
    }
    if (failed(lowerOne(e, k, op)))
      return op->emitError("has no lowering to linalg");
    rest = rest.drop_front();
  }
  return success();
}

