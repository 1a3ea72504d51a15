//===-- FoldConstants.cpp - Constants, shapes, and operators that do nothing --------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXFOLDCONSTANTSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
/// More elements than this are no shape, axis or bound.
constexpr int64_t kMaxFolded = 1024;

/// Vectors and matrices of floats stay what they are: recipes on weights, not new constants.
bool isFoldable(const HostTensor &tensor) { return tensor.size() <= (tensor.isFloat() ? 1 : kMaxFolded); }

void foldConstants(func::FuncOp func, const Evaluation &evaluation) {
  for (Operation &op : llvm::make_early_inc_range(func.getOps())) {
    if (isa<onnx::ConstantOp, onnx::WeightOp>(op))
      continue;
    for (Value result : op.getResults()) {
      const HostTensor *tensor = result.use_empty() ? nullptr : evaluation.constant(result);
      if (!tensor || !isFoldable(*tensor))
        continue;
      OpBuilder builder(&op);
      DenseElementsAttr value = tensor->toAttribute();
      result.replaceAllUsesWith(onnx::ConstantOp::create(builder, op.getLoc(), value.getType(), value));
    }
  }
}

bool haveSameShape(const Evaluation &evaluation, Value a, Value b) {
  for (unsigned run = 0; run < evaluation.assignments().size(); ++run) {
    const HostTensor *x = evaluation.get(a, run), *y = evaluation.get(b, run);
    if (!x || !y || x->shape != y->shape)
      return false;
  }
  return true;
}

/// x * 1, x / 1, x + 0, x - 0.
Value neutralOperand(const Evaluation &evaluation, Operation *op) {
  bool product = isa<onnx::MulOp, onnx::DivOp>(op), sum = isa<onnx::AddOp, onnx::SubOp>(op);
  if (!product && !sum)
    return {};
  bool commutes = isa<onnx::MulOp, onnx::AddOp>(op);
  for (unsigned side : {1u, 0u})
    if (side == 1 || commutes)
      if (evaluation.constantScalar(op->getOperand(side)) == (product ? 1.0 : 0.0))
        return op->getOperand(1 - side);
  return {};
}

/// The earliest value that has the elements of `value` in the same order and the same shape; null when there is none.
Value earliestEqual(const Evaluation &evaluation, Value value) {
  Value found;
  for (Value from = movedFrom(value); from; from = movedFrom(from))
    if (haveSameShape(evaluation, value, from) && evaluation.isSameOrder(value, from))
      found = from;
  if (!found && value.getDefiningOp())
    if (Value same = neutralOperand(evaluation, value.getDefiningOp()))
      if (haveSameShape(evaluation, value, same))
        found = same;
  return found;
}

void removeNoOps(func::FuncOp func, const Evaluation &evaluation) {
  // From the end, so that a chain of views goes to its start at once.
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(func.getBody().front()))) {
    for (Value result : op.getResults())
      if (!result.use_empty() && isa<TensorType>(result.getType()))
        if (Value same = earliestEqual(evaluation, result))
          result.replaceAllUsesWith(same);
    if (op.getDialect() == func->getContext()->getLoadedDialect<onnx::ONNXDialect>() && op.use_empty())
      op.erase();
  }
}

struct FoldConstants : sparse::impl::OnnxFoldConstantsPassBase<FoldConstants> {
  void runOnOperation() override {
    for (func::FuncOp func : functionsOf(getOperation())) {
      cleanUp(func);
      Evaluation evaluation(func);
      removeNoOps(func, evaluation);
      foldConstants(func, evaluation);
      cleanUp(func);
    }
  }
};
} // namespace
