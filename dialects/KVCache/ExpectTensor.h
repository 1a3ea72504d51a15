//===-- ExpectTensor.h - What the operands and results of cache ops must be ------------------------------*- C++ -*-===//
#ifndef SPARSE_DIALECTS_KVCACHE_EXPECTTENSOR_H
#define SPARSE_DIALECTS_KVCACHE_EXPECTTENSOR_H

#include "dialects/KVCache/KVCache.h"

namespace sparse::kvcache {
/// A tensor operand or result by its name in the op, and what it must be; a dimension `kDynamic` may be anything.
struct Expected {
  mlir::Value value;
  llvm::StringRef name;
  llvm::SmallVector<int64_t> shape;
  mlir::Type element;
};

/// Fails after a diagnostic on `op` for the first value that is not what it must be.
mlir::LogicalResult expectTensors(mlir::Operation *op, llvm::ArrayRef<Expected> values);

/// The number of rows of `[rows, ...]`; `kDynamic` for another rank, which `expectTensors` then refuses.
int64_t rowsOf(mlir::Value value);

/// What copies of keys and values hold where slots merge: the layer's numbers, or f32 where pages hold codes.
mlir::Type mergedType(LayoutAttr layout);
/// Copies of `cap` slots of every head as `kvcache.gather` makes them: keys and values of `number`, positions, the scales of
/// codes, then the slot fields.
llvm::SmallVector<mlir::RankedTensorType> copyTypes(LayoutAttr layout, mlir::Type number);
/// Fails after a diagnostic when `copies` are no such copies, as pages hold them or as they merge.
mlir::LogicalResult expectCopies(mlir::Operation *op, LayoutAttr layout, mlir::ValueRange copies);
/// Fails after a diagnostic when the layout has no field `name` of this scope and type, which `who` needs.
mlir::LogicalResult expectField(mlir::Operation *op, LayoutAttr layout, llvm::StringRef name, Scope scope,
                                mlir::Type type, llvm::StringRef who);
} // namespace sparse::kvcache

#endif
