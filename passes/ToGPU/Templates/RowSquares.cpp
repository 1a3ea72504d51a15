//===-- RowSquares.cpp - Squares of the lengths of sixteen rows, on tensor cores ----------------------------------===//
#include "passes/ToGPU/Templates/RowSquares.h"
#include "passes/ToGPU/TensorCore.h"
#include "passes/ToLinalg/Merge.h"

using namespace sparse::device;

RowSquares::RowSquares(Device &d, ValueRange lowRows, ValueRange highRows, Type element) : d(d) {
  SmallVector<Value> ofLow(4, d.f32(0)), ofHigh(4, d.f32(0));
  for (size_t i = 0; i < lowRows.size(); i += 2) {
    SmallVector<Value> rows{lowRows[i], highRows[i], lowRows[i + 1], highRows[i + 1]};
    ofLow = multiply(d, rows, {lowRows[i], lowRows[i + 1]}, ofLow, element);
    ofHigh = multiply(d, rows, {highRows[i], highRows[i + 1]}, ofHigh, element);
  }
  Value odd = d.eq(d.bitAnd(d.divU(d.lane(), 4), d.i32(1)), d.i32(1));
  low = d.select(odd, ofLow[1], ofLow[0]);
  high = d.select(odd, ofHigh[3], ofHigh[2]);
}

Value RowSquares::of(Value row, bool upper) const {
  return d.shuffle(upper ? high : low, d.add(d.mul(row, d.i32(4)), d.shrU(row, 1)));
}

Value sparse::device::inverseLength(Device &d, Value squares) {
  constexpr double kLeast = lowering::merging::kLeastNorm;
  Value clamped = d.maxF(squares, d.f32(kLeast * kLeast));
  return LLVM::CallIntrinsicOp::create(d.b, d.loc, d.b.getF32Type(), d.b.getStringAttr("llvm.nvvm.rsqrt.approx.f"),
                                       ValueRange{clamped})
      .getResult(0);
}
