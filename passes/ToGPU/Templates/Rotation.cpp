//===-- Rotation.cpp - Entries of rotated vectors -----------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Rotation.h"

using namespace sparse::device;

Rotation::Rotation(DeviceKernel &kernel, sparse::onnx::RotaryEmbeddingOp op) : k(kernel), op(op) {
  width = k.buffer(op.getX()).size(1) / static_cast<int64_t>(op.getNumHeads());
  half = k.buffer(op.getCosCache()).size(1);
}

void Rotation::locate(Value row) { position = k.load(k.buffer(op.getPositionIds()), {row}); }

Value Rotation::entry(Value row, Value head, Value channel) {
  Device &d = k.d;
  Buffer &x = k.buffer(op.getX()), &cos = k.buffer(op.getCosCache()), &sin = k.buffer(op.getSinCache());
  bool interleaved = op.getInterleaved() != 0;
  Value isFirst = interleaved ? d.eq(d.remU(channel, 2), d.i32(0)) : d.lt(channel, d.i32(half));
  Value pair = interleaved ? d.divU(channel, 2) : d.remU(channel, half);
  Value distance = d.i32(interleaved ? 1 : half);
  Value partner = d.select(isFirst, d.add(channel, distance), d.sub(channel, distance));
  Value rotates = d.lt(channel, d.i32(2 * half));
  partner = d.select(rotates, partner, channel);
  pair = d.select(rotates, pair, d.i32(0));
  Value first = d.mul(head, d.i32(width)), at = position ? position : k.load(k.buffer(op.getPositionIds()), {row});
  Value self = d.toF32(k.load(x, {row, d.add(first, channel)}));
  Value other = d.toF32(k.load(x, {row, d.add(first, partner)}));
  Value c = d.toF32(k.loadConstant(cos, {at, pair})), s = d.toF32(k.loadConstant(sin, {at, pair}));
  Value turned = d.mulF(other, s);
  Value rotated = d.addF(d.mulF(self, c), d.select(isFirst, arith::NegFOp::create(d.b, d.loc, turned), turned));
  return d.select(rotates, rotated, self);
}
