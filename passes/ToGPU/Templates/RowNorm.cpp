//===-- RowNorm.cpp - The root mean square of a row ---------------------------------------------------------------===//
#include "passes/ToGPU/Templates/RowNorm.h"

using namespace sparse::device;

Value sparse::device::inverseRms(DeviceKernel &k, const Buffer &x, Value row, Value first, int64_t part, double epsilon,
                                 int64_t warps) {
  Device &d = k.d;
  auto vector = VectorType::get({kNormWidth}, d.b.getF32Type());
  Value squares = d.loop(d.threadId(), d.i32(part / kNormWidth), d.i32(warps * kWarp), d.zero(vector),
                         [&](Value chunk, ValueRange carried) {
                           Value column = d.add(first, d.mul(chunk, d.i32(kNormWidth)));
                           Value entries = d.toF32(k.load(x, {row, column}, kNormWidth));
                           return SmallVector<Value>{d.fma(entries, entries, carried[0])};
                         })[0];
  Value sum = d.warpSum(d.sumOf(squares));
  if (warps > 1) {
    Span partial = d.shared(d.b.getF32Type(), warps, "squares");
    d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { d.store(sum, partial, d.warp()); });
    d.barrier();
    sum = d.load(partial, d.i32(0));
    for (int64_t w = 1; w < warps; ++w)
      sum = d.addF(sum, d.load(partial, d.i32(w)));
  }
  Value mean = d.mulF(sum, d.f32(1.0 / part));
  Value root = math::SqrtOp::create(d.b, d.loc, d.addF(mean, d.f32(epsilon)));
  return d.divF(d.f32(1), root);
}
