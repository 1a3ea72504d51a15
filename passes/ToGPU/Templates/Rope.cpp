//===-- Rope.cpp - Rotary position embedding on its own -----------------------------------------------------------===//
#include "passes/ToGPU/Templates/Rotation.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostThreads = 256;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<onnx::RotaryEmbeddingOp>(k.ops.front());
  Rotation rotation(k, op);
  k.grid = {static_cast<int64_t>(op.getNumHeads()), k.buffer(op.getX()).size(0), 1};
  k.block = {std::min<int64_t>(kMostThreads, llvm::alignTo(rotation.dim(), kWarp)), 1, 1};
  Value head = d.blockId(0), row = d.blockId(1);
  d.loop(d.threadId(), d.i32(rotation.dim()), d.i32(k.block[0]), [&](Value channel) {
    k.store(rotation.entry(row, head, channel), k.results[0],
            {row, d.add(d.mul(head, d.i32(rotation.dim())), channel)});
  });
  return success();
}

const Template sparse::device::ropeTemplate{whyNot, emit};
