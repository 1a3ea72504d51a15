//===-- MergeParts.h - What kernels of merging share -----------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_MERGEPARTS_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_MERGEPARTS_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// A merging policy at work on one KV head (i32) of a sequence.
struct HeadMerge {
  DeviceKernel &k;
  LayerBuffers &layer;
  sparsity::MergePolicyInterface policy;
  Value sequence, head;

  /// Whether the policy acts on the head.
  Value governs();
  /// The random number of an evicted slot; null for a policy that draws none.
  Value draw(int64_t layerOfModel, Value position);
  /// The threshold as memory has it; null for a policy without one.
  Value threshold();
  /// Makes it follow shares of that sum and number (f32, and more than 0), if the policy acts on the head. Gives the
  /// threshold that holds then; `writes`: of the threads that get here, the one that stores it.
  Value updateThreshold(Value sum, Value count, Value writes);
  /// Adds to the counter of merged slots, if there is one; by one thread.
  void addToCounter(Value merged);
};

/// The new value of a channel: (old + added) / (1 + part); `part` null divides by nothing. Scalars or vectors of f32.
Value blend(Device &d, Value old, Value added, Value part);

} // namespace sparse::device

#endif
