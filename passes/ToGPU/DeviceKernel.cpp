//===-- DeviceKernel.cpp - Addresses, and the table of templates --------------------------------------------------===//
#include "passes/ToGPU/DeviceKernel.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

Value DeviceKernel::offsetOf(const Buffer &buffer, ValueRange indices) {
  assert(indices.size() == buffer.strides.size() && "one index per dimension");
  Value offset = d.i64(buffer.offset);
  for (auto [index, stride] : llvm::zip(indices, buffer.strides)) {
    Value wide = d.wide(index);
    offset = d.add(offset, stride == 1 ? wide : d.mul(wide, d.i64(stride)));
  }
  return offset;
}

Operation *sparse::device::headOf(ArrayRef<Operation *> ops) {
  for (Operation *op : ops)
    if (isa<kvcache::AppendOp, kvcache::CompressOp, sparsity::LinearOp>(op))
      return op;
  return ops.empty() ? nullptr : ops.front();
}

Operation *sparse::device::headOf(plan::KernelOp kernel) {
  SmallVector<Operation *> ops;
  for (Operation &op : kernel.getBlock()->without_terminator())
    if (!isa<onnx::ConstantOp, tensor::ExtractSliceOp, UnrealizedConversionCastOp>(op))
      ops.push_back(&op);
  return headOf(ops);
}

const Template *sparse::device::findTemplate(StringRef opName, sparsity::Strategy strategy) {
  for (const TemplateEntry &entry : templateTable())
    if (entry.opName == opName && entry.strategy == strategy)
      return &entry.body;
  return nullptr;
}
