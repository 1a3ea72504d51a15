//===-- RaiseRMSNorm.cpp - RMS normalisation ----------------------------------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXRAISERMSNORMPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
/// What is left of a matched normalisation: x over the root of its mean square plus epsilon.
struct Normalised {
  Value x;
  double epsilon;
};

Value stripFloatCasts(Value value) {
  while (auto cast = value.getDefiningOp<onnx::CastOp>()) {
    if (!isa<FloatType>(getElementTypeOrSelf(cast.getInput())))
      break;
    value = cast.getInput();
  }
  return value;
}

class Matcher {
public:
  explicit Matcher(const Evaluation &evaluation) : evaluation(evaluation) {}

  /// x * (1 / sqrt(m)) or x / sqrt(m), with m = mean(x^2) + epsilon.
  std::optional<Normalised> normalised(Value value) {
    value = stripFloatCasts(value);
    if (auto quotient = value.getDefiningOp<onnx::DivOp>())
      return overRoot(quotient.getLhs(), rootOperand(quotient.getRhs()));
    if (auto product = value.getDefiningOp<onnx::MulOp>())
      for (Value side : {product.getRhs(), product.getLhs()})
        if (auto match = overRoot(otherOperand(product, side), inverseRootOperand(side)))
          return match;
    return std::nullopt;
  }

private:
  /// m of Sqrt(m) or Pow(m, 0.5).
  Value rootOperand(Value value) {
    if (auto root = value.getDefiningOp<onnx::SqrtOp>())
      return root.getInput();
    if (auto power = value.getDefiningOp<onnx::PowOp>(); power && evaluation.constantScalar(power.getRhs()) == 0.5)
      return power.getLhs();
    return {};
  }

  /// m of Reciprocal(Sqrt(m)), Div(1, Sqrt(m)) or Pow(m, -0.5).
  Value inverseRootOperand(Value value) {
    if (auto reciprocal = value.getDefiningOp<onnx::ReciprocalOp>())
      return rootOperand(reciprocal.getInput());
    if (auto quotient = value.getDefiningOp<onnx::DivOp>();
        quotient && evaluation.constantScalar(quotient.getLhs()) == 1.0)
      return rootOperand(quotient.getRhs());
    if (auto power = value.getDefiningOp<onnx::PowOp>(); power && evaluation.constantScalar(power.getRhs()) == -0.5)
      return power.getLhs();
    return {};
  }

  std::optional<Normalised> overRoot(Value x, Value meanAndEpsilon) {
    auto sum = meanAndEpsilon ? meanAndEpsilon.getDefiningOp<onnx::AddOp>() : onnx::AddOp();
    if (!sum)
      return std::nullopt;
    for (Value side : {sum.getRhs(), sum.getLhs()}) {
      auto epsilon = evaluation.constantScalar(side);
      if (epsilon && *epsilon >= 0 && isMeanSquare(otherOperand(sum, side), x))
        return Normalised{stripFloatCasts(x), *epsilon};
    }
    return std::nullopt;
  }

  /// Mean of x^2 over the last axis, which is kept.
  bool isMeanSquare(Value value, Value x) {
    auto mean = value.getDefiningOp<onnx::ReduceMeanOp>();
    if (!mean || !mean.getKeepdims())
      return false;
    const HostTensor *axes = evaluation.constant(mean.getAxes());
    std::optional<int64_t> rank = evaluation.rank(mean.getData());
    if (!axes || axes->size() != 1 || (axes->intAt(0) != -1 && (!rank || axes->intAt(0) != *rank - 1)))
      return false;
    if (auto power = mean.getData().getDefiningOp<onnx::PowOp>())
      return power.getLhs() == x && evaluation.constantScalar(power.getRhs()) == 2.0;
    auto square = mean.getData().getDefiningOp<onnx::MulOp>();
    return square && square.getLhs() == x && square.getRhs() == x;
  }

  const Evaluation &evaluation;
};

class Raiser {
public:
  Raiser(func::FuncOp func, SymbolTable &symbols) : func(func), symbols(symbols), evaluation(func) {}

  void run() {
    for (Operation &op : llvm::make_early_inc_range(func.getOps())) {
      if (auto product = dyn_cast<onnx::MulOp>(op))
        raiseDecomposed(product);
      else if (auto norm = dyn_cast<onnx::SimplifiedLayerNormalizationOp>(op))
        raiseSimplified(norm);
      else if (auto norm = dyn_cast<onnx::SkipSimplifiedLayerNormalizationOp>(op))
        raiseSkip(norm);
      else if (auto norm = dyn_cast<onnx::RMSNormalizationOp>(op))
        makeScaleSymbol(norm);
    }
    cleanUp(func);
  }

private:
  Value build(OpBuilder &builder, Operation *op, Type type, Value x, Value scale, double epsilon, int64_t axis) {
    return onnx::RMSNormalizationOp::create(builder, op->getLoc(), type, x, scale, builder.getI64IntegerAttr(axis),
                                            builder.getF32FloatAttr(epsilon), builder.getI64IntegerAttr(1));
  }

  void raiseDecomposed(onnx::MulOp op) {
    OpBuilder builder(op);
    for (Value side : {op.getLhs(), op.getRhs()}) {
      auto match = Matcher(evaluation).normalised(otherOperand(op, side));
      // The scale multiplies in the type of the result; in f32 that is where everything happens.
      if (!match || evaluation.rank(side) != 1 || !evaluation.rank(match->x) ||
          getElementTypeOrSelf(match->x) != getElementTypeOrSelf(op.getResult()))
        continue;
      Value scale = asWeight(builder, symbols, evaluation, side, "norm.scale");
      if (!scale)
        continue;
      op.getResult().replaceAllUsesWith(build(builder, op, op.getType(), match->x, scale, match->epsilon, -1));
      return;
    }
  }

  void raiseSimplified(onnx::SimplifiedLayerNormalizationOp op) {
    if (!op.getInvStd().use_empty())
      return;
    OpBuilder builder(op);
    Value scale = asWeight(builder, symbols, evaluation, op.getScale(), "norm.scale");
    op.getY().replaceAllUsesWith(build(builder, op, op.getY().getType(), op.getX(), scale ? scale : op.getScale(),
                                       op.getEpsilon().convertToFloat(), op.getAxis()));
  }

  void raiseSkip(onnx::SkipSimplifiedLayerNormalizationOp op) {
    if (!op.getMean().use_empty() || !op.getInvStd().use_empty())
      return;
    OpBuilder builder(op);
    Type type = op.getOutput().getType();
    Value sum = onnx::AddOp::create(builder, op.getLoc(), type, op.getInput(), op.getSkip());
    if (isa<TensorType>(op.getBias().getType()))
      sum = onnx::AddOp::create(builder, op.getLoc(), type, sum, op.getBias());
    Value scale = asWeight(builder, symbols, evaluation, op.getGamma(), "norm.scale");
    op.getOutput().replaceAllUsesWith(
        build(builder, op, type, sum, scale ? scale : op.getGamma(), op.getEpsilon().convertToFloat(), -1));
    if (isa<TensorType>(op.getSum().getType()))
      op.getSum().replaceAllUsesWith(sum);
  }

  /// Small weights may have come as constants.
  void makeScaleSymbol(onnx::RMSNormalizationOp op) {
    OpBuilder builder(op);
    if (Value scale = asWeight(builder, symbols, evaluation, op.getScale(), "norm.scale"))
      op.getScaleMutable().assign(scale);
  }

  func::FuncOp func;
  SymbolTable &symbols;
  Evaluation evaluation;
};

struct RaiseRMSNorm : sparse::impl::OnnxRaiseRMSNormPassBase<RaiseRMSNorm> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (func::FuncOp func : functionsOf(getOperation()))
      Raiser(func, symbols).run();
  }
};
} // namespace
