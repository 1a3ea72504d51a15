//===-- DeviceKernel.h - What a template of a GPU kernel is given ----------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_DEVICEKERNEL_H
#define SPARSE_PASSES_TOGPU_DEVICEKERNEL_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// A tensor in device memory: row-major, or a block of columns of a row-major tensor.
struct Buffer {
  Span span;
  SmallVector<int64_t> shape;
  SmallVector<int64_t> strides; // elements
  int64_t offset = 0;           // elements

  int64_t size(unsigned dim) const { return shape[dim]; }
};

/// The components of one layer's cache.
struct LayerBuffers {
  kvcache::LayoutAttr layout;
  llvm::StringMap<Buffer> components;

  Buffer &operator[](StringRef name) {
    auto found = components.find(name);
    assert(found != components.end() && "no such component in this layout");
    return found->second;
  }
};

/// One kernel while its template emits it. The template reads operands through `buffer` and `layer`, writes `results`, and
/// leaves `geometry`.
class DeviceKernel {
public:
  DeviceKernel(Device &d, sparsity::TargetAttr target, sparsity::LoweringConfigAttr config)
      : d(d), target(target), config(config) {}

  Device &d;
  sparsity::TargetAttr target;
  sparsity::LoweringConfigAttr config;
  SmallVector<Operation *> ops;         // the region, without views and casts
  DenseMap<Value, Buffer> buffers;      // of tensors
  DenseMap<Value, LayerBuffers> layers; // of cache states
  SmallVector<Buffer> results;          // in the order of the region's yielded values

  SmallVector<int64_t> grid{1, 1, 1}, block{32, 1, 1};
  int64_t cluster = 1;
  int64_t dynamicShared = 0;
  int64_t blocksOfProcessor = 0; // that must fit on a multiprocessor by their registers; 0: any

  Buffer &buffer(Value tensor) {
    assert(buffers.contains(tensor) && "no buffer for this value");
    return buffers.find(tensor)->second;
  }
  LayerBuffers &layer(Value state) { return layers.find(state)->second; }

  /// Element offset (i64) of an entry: indices are i32 or i64.
  Value offsetOf(const Buffer &buffer, ValueRange indices);
  Value load(const Buffer &buffer, ValueRange indices, int64_t width = 1) {
    return d.load(buffer.span, offsetOf(buffer, indices), width);
  }
  Value loadConstant(const Buffer &buffer, ValueRange indices, int64_t width = 1) {
    return d.loadConstant(buffer.span, offsetOf(buffer, indices), width);
  }
  void store(Value value, const Buffer &buffer, ValueRange indices) {
    d.store(value, buffer.span, offsetOf(buffer, indices));
  }
};

/// Emits the body of a kernel whose region starts with the op it is registered for.
struct Template {
  /// Empty when the template can emit the kernel for the target, else why not.
  std::string (*whyNot)(plan::KernelOp kernel, sparsity::TargetAttr target);
  LogicalResult (*emit)(DeviceKernel &kernel);
  /// Whether `emit` itself waits for the launch before, after work that needs nothing of it.
  bool waitsItself = false;
  /// Whether it passes pages through shared memory, in the way that the config's `copies` says.
  bool copiesTiles = false;
};

/// The template for kernels that start with an op of this name under a strategy, or null.
const Template *findTemplate(StringRef opName, sparsity::Strategy strategy);

/// The op that decides about the template: an append, a compression or a linear layer before what is fused in front of it,
/// else the first op. Null for no ops.
Operation *headOf(ArrayRef<Operation *> ops);
/// That of a region, whose constants, views and casts don't count.
Operation *headOf(plan::KernelOp kernel);

} // namespace sparse::device

#endif
