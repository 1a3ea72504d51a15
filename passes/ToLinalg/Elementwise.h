//===-- Elementwise.h - The scalar meaning of elementwise ops --------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOLINALG_ELEMENTWISE_H
#define SPARSE_PASSES_TOLINALG_ELEMENTWISE_H

#include "passes/Passes.h"

namespace sparse::lowering {

/// What an elementwise op does to f32 operands, as arith and math ops; null for an op that is not elementwise.
mlir::Value scalarOf(mlir::OpBuilder &b, mlir::Location loc, mlir::Operation *op, mlir::ValueRange operands);

/// Whether `scalarOf` knows the op.
bool isElementwise(mlir::Operation *op);

} // namespace sparse::lowering

#endif
