//===-- TensorCore.h - Products of fragments by a warp ---------------------------------------------------*- C++ -*-===//
//
// mma.sync.m16n8k16 with f32 sums. In lane l, with g = l / 4 and t = l % 4 (PTX ISA, "Matrix fragments for mma.m16n8k16"):
//
//   A, 16 x 16: 4 registers of 2 elements: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), each with its right
//   neighbour; B, 16 x 8: (2t, g), (2t + 8, g), each with the element below; C, 16 x 8: (g, 2t), (g, 2t + 1),
//   (g + 8, 2t), (g + 8, 2t + 1).
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOGPU_TENSORCORE_H
#define SPARSE_PASSES_TOGPU_TENSORCORE_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// C + A * B of bf16 or f16 fragments (i32 registers: 4 of A, 2 of B), 4 f32 of C.
SmallVector<Value> multiply(Device &d, ValueRange a, ValueRange b, ValueRange c, Type element);

/// `count` (1, 2 or 4) matrices of 8 x 8 16-bit elements from shared memory, one register each: lane i gives the address of
/// row i % 8 of matrix i / 8. Lane l gets elements (l / 4, 2 * (l % 4)) and the next, with `transposed` those of the
/// transposed matrices.
SmallVector<Value> loadMatrices(Device &d, Value pointer, int64_t count, bool transposed);

/// Two f32 as one register of two elements, `low` in the lower half.
Value pack(Device &d, Value low, Value high, Type element);

/// Four codes (one register) as two registers of two f16 each, exact. `code` is i8 or f8E4M3FN.
SmallVector<Value> unpackCodes(Device &d, Value word, Type code);

/// The type that tensor cores multiply keys and values of a cache as: codes count as f16.
Type productType(kvcache::LayoutAttr layout);

} // namespace sparse::device

#endif
