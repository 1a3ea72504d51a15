//===-- RaiseLinear.cpp - Linear layers as MatMul with a weight symbol --------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXRAISELINEARPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
class Raiser {
public:
  Raiser(func::FuncOp func, SymbolTable &symbols) : func(func), symbols(symbols), evaluation(func) {}

  void run() {
    for (Operation &op : llvm::make_early_inc_range(func.getOps())) {
      if (auto gemm = dyn_cast<onnx::GemmOp>(op))
        raiseGemm(gemm);
      else if (auto product = dyn_cast<onnx::MatMulOp>(op))
        raiseFlattened(product);
    }
    cleanUp(func);
  }

private:
  /// alpha * A * B' + beta * C over flattened rows. Scaled and transposed-activation forms are left alone.
  void raiseGemm(onnx::GemmOp op) {
    bool hasBias = isa<TensorType>(op.getC().getType());
    if (!onnx::weightSymbolOf(op.getB()) || op.getTransA() || op.getAlpha().convertToFloat() != 1.0f ||
        (hasBias && op.getBeta().convertToFloat() != 1.0f))
      return;
    OpBuilder builder(op);
    Value weight = op.getB();
    if (op.getTransB())
      weight = transposed(builder, op.getLoc(), weight);
    Value rows = unflattened(op.getA());
    Value result = onnx::MatMulOp::create(builder, op.getLoc(), op.getType(), rows ? rows : op.getA(), weight);
    if (hasBias)
      result = onnx::AddOp::create(builder, op.getLoc(), op.getType(), result, op.getC());
    if (rows)
      result = makeReshape(builder, op.getLoc(), result, {-1, cast<ShapedType>(weight.getType()).getDimSize(1)});
    op.getResult().replaceAllUsesWith(result);
  }

  void raiseFlattened(onnx::MatMulOp op) {
    Value rows = onnx::weightSymbolOf(op.getRhs()) ? unflattened(op.getLhs()) : Value();
    if (!rows)
      return;
    OpBuilder builder(op);
    Value result = onnx::MatMulOp::create(builder, op.getLoc(), op.getType(), rows, op.getRhs());
    int64_t width = cast<ShapedType>(op.getRhs().getType()).getDimSize(1);
    op.getResult().replaceAllUsesWith(makeReshape(builder, op.getLoc(), result, {-1, width}));
  }

  /// The [batch, sequence, width] value that `value` flattens; null when it flattens none.
  Value unflattened(Value value) {
    if (evaluation.rank(value) != 2)
      return {};
    for (Value from = movedFrom(value); from; from = movedFrom(from))
      if (evaluation.rank(from) == 3 && evaluation.extent(from, 1).kind == Extent::Sequence &&
          evaluation.isSameOrder(value, from))
        return from;
    return {};
  }

  Value transposed(OpBuilder &builder, Location loc, Value weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    auto step = onnx::TransposeStepAttr::get(builder.getContext(), builder.getDenseI64ArrayAttr({1, 0}));
    return makeRecipe(builder, loc, symbols, weight, step, ".t",
                      RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)}, type.getElementType()));
  }

  func::FuncOp func;
  SymbolTable &symbols;
  Evaluation evaluation;
};

struct RaiseLinear : sparse::impl::OnnxRaiseLinearPassBase<RaiseLinear> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (func::FuncOp func : functionsOf(getOperation())) {
      foldWeightMovements(func, symbols);
      Raiser(func, symbols).run();
    }
  }
};
} // namespace
