//===-- Movement.h - Operators that only move elements --------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_MOVEMENT_H
#define SPARSE_PASSES_RAISE_MOVEMENT_H

#include "passes/Raise/HostTensor.h"

#include "mlir/IR/Operation.h"

namespace sparse::raise {

/// What an operator does that copies, drops or repeats elements of its first operand and computes nothing: the shape of
/// one result, and for each index of it the row-major position of the element in the operand.
struct Movement {
  llvm::SmallVector<int64_t> shape;
  std::function<int64_t(llvm::ArrayRef<int64_t>)> source;
};

/// Whether `op` is such an operator: Reshape, Transpose, Expand, Slice, Split, Gather with known indices, …
bool isMovement(mlir::Operation *op);

/// The movement behind result `index` of `op` for these operands (null where absent); nothing when the operands don't
/// determine it. `source` is null when only the shape is known.
std::optional<Movement> movementOf(mlir::Operation *op, unsigned index, llvm::ArrayRef<const HostTensor *> operands);

} // namespace sparse::raise

#endif
