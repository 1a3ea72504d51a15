//===-- Evaluator.h - Concrete evaluation of onnx operators ---------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_EVALUATOR_H
#define SPARSE_PASSES_RAISE_EVALUATOR_H

#include "passes/Raise/HostTensor.h"
#include "passes/Raise/Movement.h"

#include "mlir/IR/Operation.h"

namespace sparse::raise {

/// One entry per result; nothing for a result that can't be told.
using Results = llvm::SmallVector<std::optional<HostTensor>, 1>;

/// Evaluates `op` on `operands`, which are null where the operator's operand is absent. Shapes are computed always,
/// elements when every operand has elements and the results are small. Weights and constants have no operands and are
/// not handled here (Evaluation.h).
Results evaluate(mlir::Operation *op, llvm::ArrayRef<const HostTensor *> operands);

/// The elements that `movement` takes from `source`; only the shape when they are unknown or too many.
HostTensor applyMovement(const Movement &movement, const HostTensor &source);

/// Elementwise operators and reductions of `evaluate`; nothing when `op` is neither.
std::optional<HostTensor> evaluateElementwise(mlir::Operation *op, llvm::ArrayRef<const HostTensor *> operands);
std::optional<HostTensor> evaluateReduction(mlir::Operation *op, llvm::ArrayRef<const HostTensor *> operands);

/// Element type of result `index`.
mlir::Type resultElementType(mlir::Operation *op, unsigned index);

} // namespace sparse::raise

#endif
