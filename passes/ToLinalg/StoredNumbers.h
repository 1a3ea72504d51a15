//===-- StoredNumbers.h - Numbers as memory has them -----------------------------------------------------*- C++ -*-===//
//
// Kernels count in f32. Memory holds f32, bf16, f16, or codes of eight bits with a scale (`#kvcache.layout`). All functions
// take scalars or vectors. Codes and scales are made by integer and f32 operations alone, so that every target gets the
// same bits.
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOLINALG_STOREDNUMBERS_H
#define SPARSE_PASSES_TOLINALG_STOREDNUMBERS_H

#include "mlir/IR/Builders.h"

namespace sparse::lowering {

/// A number of memory as f32, a code as what it stands for before the scale.
mlir::Value readStored(mlir::OpBuilder &b, mlir::Location loc, mlir::Value stored);
/// An f32 as a number of `element`, rounded to nearest; codes saturate.
mlir::Value writeStored(mlir::OpBuilder &b, mlir::Location loc, mlir::Value value, mlir::Type element);

/// The scale (f32, exact in f16) of numbers of at most `largest` in magnitude as codes of type `code`.
mlir::Value scaleFor(mlir::OpBuilder &b, mlir::Location loc, mlir::Value largest, mlir::Type code);
/// A scale as f16, and back; both exact.
mlir::Value writeScale(mlir::OpBuilder &b, mlir::Location loc, mlir::Value scale);
mlir::Value readScale(mlir::OpBuilder &b, mlir::Location loc, mlir::Value stored);

} // namespace sparse::lowering

#endif
