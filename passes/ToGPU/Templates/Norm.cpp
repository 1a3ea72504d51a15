//===-- Norm.cpp - RMS normalisation, a block for each row --------------------------------------------------------===//
#include "passes/ToGPU/Templates/Epilogue.h"
#include "passes/ToGPU/Templates/RowNorm.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostWarps = 8;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto norm = cast<onnx::RMSNormalizationOp>(headOf(kernel));
  if (cast<RankedTensorType>(norm.getScale().getType()).getDimSize(0) % kNormWidth != 0)
    return "the normalised width is no multiple of 4";
  return "";
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto norm = cast<onnx::RMSNormalizationOp>(k.ops.front());
  Buffer &x = k.buffer(norm.getX()), &scale = k.buffer(norm.getScale()), &y = k.results[0];
  // A norm over part of a row (one head) takes as many scales as the part is wide.
  int64_t part = scale.size(0), chunks = part / kNormWidth;
  int64_t warps = std::min<int64_t>(kMostWarps, llvm::divideCeil(chunks, kWarp)), threads = warps * kWarp;
  k.grid = {x.size(1) / part, x.size(0), 1};
  k.block = {threads, 1, 1};

  LogicalResult status = success();
  Value row = d.blockId(1), first = d.mul(d.blockId(0), d.i32(part));
  Value inverse = inverseRms(k, x, row, first, part, norm.getEpsilon().convertToDouble(), warps);
  d.loop(d.threadId(), d.i32(chunks), d.i32(threads), [&](Value chunk) {
    Value channel = d.mul(chunk, d.i32(kNormWidth)), column = d.add(first, channel);
    Value normal = d.mulF(d.toF32(k.load(x, {row, column}, kNormWidth)), d.splat(inverse, kNormWidth));
    Value out = d.mulF(normal, d.toF32(k.loadConstant(scale, {channel}, kNormWidth)));
    FailureOr<Value> last = applyEpilogue(k, norm.getResult(), out, row, column);
    status = succeeded(last) ? status : LogicalResult::failure();
    k.store(d.fromF32(succeeded(last) ? *last : out, y.span.element), y, {row, column});
  });
  return status;
}

const Template sparse::device::normTemplate{whyNot, emit};
