//===-- Norm.cpp - RMS normalisation, a block for each row --------------------------------------------------------===//
#include "passes/ToGPU/Templates/Epilogue.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kThreads = 256;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto norm = cast<onnx::RMSNormalizationOp>(headOf(kernel));
  if (cast<RankedTensorType>(norm.getScale().getType()).getDimSize(0) % 4 != 0)
    return "the normalised width is no multiple of 4";
  return "";
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto norm = cast<onnx::RMSNormalizationOp>(k.ops.front());
  Buffer &x = k.buffer(norm.getX()), &scale = k.buffer(norm.getScale()), &y = k.results[0];
  // A norm over part of a row (one head) takes as many scales as the part is wide.
  int64_t part = scale.size(0), width = 4, chunks = part / width;
  int64_t warps = std::min<int64_t>(kThreads / kWarp, llvm::divideCeil(chunks, kWarp)), threads = warps * kWarp;
  k.grid = {x.size(1) / part, x.size(0), 1};
  k.block = {threads, 1, 1};

  LogicalResult status = success();
  Value thread = d.threadId(), row = d.blockId(1), first = d.mul(d.blockId(0), d.i32(part));
  auto vector = VectorType::get({width}, d.b.getF32Type());
  Value squares = d.loop(thread, d.i32(chunks), d.i32(threads), d.zero(vector), [&](Value chunk, ValueRange carried) {
    Value entries = d.toF32(k.load(x, {row, d.add(first, d.mul(chunk, d.i32(width)))}, width));
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
  Value root = math::SqrtOp::create(d.b, d.loc, d.addF(mean, d.f32(norm.getEpsilon().convertToDouble())));
  Value inverse = d.divF(d.f32(1), root);
  d.loop(thread, d.i32(chunks), d.i32(threads), [&](Value chunk) {
    Value channel = d.mul(chunk, d.i32(width)), column = d.add(first, channel);
    Value normal = d.mulF(d.toF32(k.load(x, {row, column}, width)), d.splat(inverse, width));
    Value out = d.mulF(normal, d.toF32(k.loadConstant(scale, {channel}, width)));
    FailureOr<Value> last = applyEpilogue(k, norm.getResult(), out, row, column);
    status = succeeded(last) ? status : LogicalResult::failure();
    k.store(d.fromF32(succeeded(last) ? *last : out, y.span.element), y, {row, column});
  });
  return status;
}

const Template sparse::device::normTemplate{whyNot, emit};
