//===-- RaiseRotary.cpp - Rotary position embedding ---------------------------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/RotaryTables.h"

#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXRAISEROTARYPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
/// Where heads stand in a 4-D value of heads.
enum class Layout { BHSD, BSHD };

struct Heads {
  Layout layout;
  int64_t count, dim;
};

/// How `value` holds heads; nothing when it isn't 4-D with a constant number of heads of constant width.
std::optional<Heads> headsOf(const Evaluation &evaluation, Value value) {
  if (evaluation.rank(value) != 4)
    return std::nullopt;
  Extent one = evaluation.extent(value, 1), two = evaluation.extent(value, 2), dim = evaluation.extent(value, 3);
  if (dim.kind != Extent::Constant)
    return std::nullopt;
  if (one.kind == Extent::Constant && two.kind == Extent::Sequence)
    return Heads{Layout::BHSD, one.value, dim.value};
  if (one.kind == Extent::Sequence && two.kind == Extent::Constant)
    return Heads{Layout::BSHD, two.value, dim.value};
  return std::nullopt;
}

/// Whether `turned` is `x` with its halves swapped and the new first half negated.
bool isRotatedHalf(const Evaluation &evaluation, Value turned, Value x) {
  if (turned == x || !turned.getDefiningOp())
    return false;
  const HostTensor *tensor = evaluation.get(x, 0);
  if (!tensor || tensor->rank() == 0 || tensor->size() > kMaxElements)
    return false;
  int64_t width = tensor->shape.back(), half = width / 2;
  // Number the elements from one, so that every sign shows.
  std::vector<double> numbers;
  for (int64_t i = 1; i <= tensor->size(); ++i)
    numbers.push_back(static_cast<double>(i));
  auto result = evaluation.substitute(turned, x, HostTensor::ofFloats(tensor->shape, tensor->elementType, numbers), 0);
  if (!result || result->shape != tensor->shape || width % 2 != 0)
    return false;
  for (int64_t i = 0; i < tensor->size(); ++i) {
    double expected = i % width < half ? -numbers[i + half] : numbers[i - half];
    if (result->at(i) != expected)
      return false;
  }
  return true;
}

struct HalfSplit {
  Value x, cos, sin;
};

/// x * cos + rotate_half(x) * sin, in any order of operands.
std::optional<HalfSplit> matchHalfSplit(const Evaluation &evaluation, onnx::AddOp op) {
  auto left = op.getLhs().getDefiningOp<onnx::MulOp>(), right = op.getRhs().getDefiningOp<onnx::MulOp>();
  if (!left || !right)
    return std::nullopt;
  for (auto [straight, turned] : {std::pair(left, right), std::pair(right, left)})
    for (unsigned i : {0u, 1u})
      for (unsigned j : {0u, 1u}) {
        Value x = straight->getOperand(i), half = turned->getOperand(j);
        if (headsOf(evaluation, x) && isRotatedHalf(evaluation, half, x))
          return HalfSplit{x, straight->getOperand(1 - i), turned->getOperand(1 - j)};
      }
  return std::nullopt;
}

class Raiser {
public:
  Raiser(func::FuncOp func, SymbolTable &symbols, int64_t maxContext)
      : func(func), evaluation(func, maxContext), tables(func, evaluation, symbols, maxContext) {}

  LogicalResult run() {
    for (Operation &op : llvm::make_early_inc_range(func.getOps())) {
      LogicalResult result = success();
      if (auto add = dyn_cast<onnx::AddOp>(op))
        result = raiseHalfSplit(add);
      else if (auto rotary = dyn_cast<onnx::RotaryEmbeddingOp>(op))
        result = raiseOperator(rotary);
      if (failed(result))
        return failure();
    }
    cleanUp(func);
    return success();
  }

private:
  LogicalResult raiseHalfSplit(onnx::AddOp op) {
    auto match = matchHalfSplit(evaluation, op);
    if (!match)
      return success();
    Heads heads = *headsOf(evaluation, match->x);
    auto index = [layout = heads.layout](int64_t b, int64_t s, int64_t i) -> SmallVector<int64_t> {
      return layout == Layout::BHSD ? SmallVector<int64_t>{b, 0, s, i} : SmallVector<int64_t>{b, s, 0, i};
    };
    Rotation rotation{op, match->cos, match->sin, heads.dim / 2, /*repeated=*/true, index};
    return replace(op, op.getResult(), match->x, heads, rotation, /*interleaved=*/0);
  }

  LogicalResult raiseOperator(onnx::RotaryEmbeddingOp op) {
    std::optional<int64_t> rank = evaluation.rank(op.getX());
    bool indexed = isa<TensorType>(op.getPositionIds().getType());
    bool tabled = onnx::weightSymbolOf(op.getCosCache()) && onnx::weightSymbolOf(op.getSinCache());
    if (!rank || (indexed && !tabled))
      return success();
    OpBuilder builder(op);
    std::optional<Heads> heads;
    if (*rank == 4) {
      // The operator's 4-D form is [batch, heads, sequence, dim].
      heads = headsOf(evaluation, op.getX());
      if (!heads || heads->layout != Layout::BHSD)
        return success();
    }
    if (indexed) {
      if (heads)
        emit(builder, op, op.getResult(), op.getX(), *heads, {op.getCosCache(), op.getSinCache()}, op.getPositionIds(),
             op.getInterleaved());
      return success();
    }
    if (!heads)
      heads = Heads{Layout::BSHD, static_cast<int64_t>(op.getNumHeads()), 0};
    Extent half = evaluation.extent(op.getCosCache(), 2);
    if (evaluation.rank(op.getCosCache()) != 3 || half.kind != Extent::Constant)
      return success();
    auto index = [](int64_t b, int64_t s, int64_t i) { return SmallVector<int64_t>{b, s, i}; };
    Rotation rotation{op, op.getCosCache(), op.getSinCache(), half.value, /*repeated=*/false, index};
    return replace(op, op.getResult(), op.getX(), *heads, rotation, op.getInterleaved());
  }

  LogicalResult replace(Operation *op, Value result, Value x, const Heads &heads, const Rotation &rotation,
                        int64_t interleaved) {
    OpBuilder builder(op);
    auto found = tables.get(builder, rotation);
    if (failed(found))
      return failure();
    emit(builder, op, result, x, heads, *found, getPositionIds(func), interleaved, 2 * rotation.half);
    return success();
  }

  /// RotaryEmbedding on [batch, sequence, heads * dim], between views when `x` is 4-D.
  void emit(OpBuilder &builder, Operation *op, Value result, Value x, const Heads &heads,
            const RotaryTables::Tables &tables, Value positions, int64_t interleaved, int64_t rotated = 0) {
    Location loc = op->getLoc();
    bool is3D = evaluation.rank(x) == 3;
    if (!is3D && heads.layout == Layout::BHSD)
      x = mergeHeads(builder, loc, x, heads.count, heads.dim);
    else if (!is3D)
      x = makeReshape(builder, loc, x, {0, 0, heads.count * heads.dim});
    if (auto rotary = dyn_cast<onnx::RotaryEmbeddingOp>(op))
      rotated = rotary.getRotaryEmbeddingDim();
    else if (rotated == heads.dim)
      rotated = 0;
    Value raised =
        onnx::RotaryEmbeddingOp::create(builder, loc, UnrankedTensorType::get(getElementTypeOrSelf(x)), x, tables.cos,
                                        tables.sin, positions, builder.getI64IntegerAttr(interleaved),
                                        builder.getI64IntegerAttr(heads.count), builder.getI64IntegerAttr(rotated));
    if (!is3D && heads.layout == Layout::BHSD)
      raised = splitHeads(builder, loc, raised, heads.count, heads.dim);
    else if (!is3D)
      raised = makeReshape(builder, loc, raised, {0, 0, heads.count, heads.dim});
    result.replaceAllUsesWith(raised);
  }

  func::FuncOp func;
  Evaluation evaluation;
  RotaryTables tables;
};

struct RaiseRotary : sparse::impl::OnnxRaiseRotaryPassBase<RaiseRotary> {
  using Base::Base;
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (func::FuncOp func : functionsOf(getOperation()))
      if (failed(Raiser(func, symbols, maxContext).run()))
        return signalPassFailure();
  }
};
} // namespace
