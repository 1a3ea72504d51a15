//===-- RowSquares.h - Squares of the lengths of sixteen rows, on tensor cores ---------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ROWSQUARES_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ROWSQUARES_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// Of rows that a warp holds as left operands of products: lane 4 g + t has the registers of rows g (`low`) and g + 8
/// (`high`). They are multiplied by themselves; the diagonal holds the squares.
class RowSquares {
public:
  RowSquares(Device &d, ValueRange low, ValueRange high, Type element);
  /// That of row `row` (i32, below 8) or, of the upper half, of row + 8. By all lanes together.
  Value of(Value row, bool upper) const;

private:
  Device &d;
  Value low, high; // in lane 4 g + g / 2: those of rows g and g + 8
};

/// One over the length of a key, from its square; over the least norm for shorter ones. Within 2^-22 of it.
Value inverseLength(Device &d, Value squares);

} // namespace sparse::device

#endif
