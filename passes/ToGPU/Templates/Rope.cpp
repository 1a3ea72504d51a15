//===-- Rope.cpp - Rotary position embedding, a thread for each pair ----------------------------------------------===//
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kThreads = 128;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto rope = cast<onnx::RotaryEmbeddingOp>(k.ops.front());
  Buffer &x = k.buffer(rope.getX()), &cos = k.buffer(rope.getCosCache()), &sin = k.buffer(rope.getSinCache());
  Buffer &positions = k.buffer(rope.getPositionIds()), &y = k.results[0];
  int64_t heads = rope.getNumHeads(), dim = x.size(1) / heads, half = cos.size(1), rest = dim - 2 * half;
  bool interleaved = rope.getInterleaved() != 0;
  k.grid = {heads, x.size(0), 1};
  k.block = {std::min<int64_t>(kThreads, llvm::alignTo(half, kWarp)), 1, 1};

  Value row = d.blockId(1), first = d.mul(d.blockId(0), d.i32(dim)), position = k.load(positions, {row});
  d.loop(d.threadId(), d.i32(half), d.i32(k.block[0]), [&](Value pair) {
    Value a = d.add(first, interleaved ? d.mul(pair, d.i32(2)) : pair);
    Value b = d.add(a, d.i32(interleaved ? 1 : half));
    Value u = d.toF32(k.load(x, {row, a})), v = d.toF32(k.load(x, {row, b}));
    Value c = d.toF32(k.loadConstant(cos, {position, pair})), s = d.toF32(k.loadConstant(sin, {position, pair}));
    k.store(d.subF(d.mulF(u, c), d.mulF(v, s)), y, {row, a});
    k.store(d.addF(d.mulF(v, c), d.mulF(u, s)), y, {row, b});
  });
  // Channels past the rotary width pass through.
  if (rest > 0)
    d.loop(d.threadId(), d.i32(rest), d.i32(k.block[0]), [&](Value channel) {
      Value column = d.add(first, d.add(channel, d.i32(2 * half)));
      k.store(d.toF32(k.load(x, {row, column})), y, {row, column});
    });
  return success();
}

const Template sparse::device::ropeTemplate{whyNot, emit};
