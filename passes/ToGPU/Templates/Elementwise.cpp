//===-- Elementwise.cpp - Kernels of elementwise ops alone --------------------------------------------------------===//
#include "passes/ToGPU/Templates/Epilogue.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kThreads = 256;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto type = dyn_cast<RankedTensorType>(kernel.getResult(0).getType());
  if (!type || type.getRank() != 2)
    return "the result is no matrix of rows";
  return "";
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  Buffer &out = k.results[0];
  int64_t columns = out.size(1);
  k.grid = {static_cast<int64_t>(llvm::divideCeil(columns, kThreads)), out.size(0), 1};
  k.block = {kThreads, 1, 1};
  Value row = d.blockId(1), column = d.add(d.mul(d.blockId(0), d.i32(kThreads)), d.threadId());
  LogicalResult status = success();
  d.ifThen(d.lt(column, d.i32(columns)), [&] {
    FailureOr<Value> entry = applyEpilogue(k, {}, {}, row, column);
    if (failed(entry))
      status = failure();
    else
      k.store(d.fromF32(*entry, out.span.element), out, {row, column});
  });
  return status;
}

const Template sparse::device::elementwiseTemplate{whyNot, emit};
