//===-- RowStore.h - The key or value of a slot, written by a block --------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ROWSTORE_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ROWSTORE_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Where a slot is. i32.
struct SlotPlace {
  Value sequence, head, slot, physical, lane; // the page in the pool, and the place in the page
};

/// The number (f32) that readers see in a channel of a slot's row; `pool` is "key" or "value".
Value readRow(DeviceKernel &k, LayerBuffers &layer, StringRef pool, const SlotPlace &place, Value channel);

/// Writes rows as the layout has them: rounded, or as codes with a scale (passes/ToLinalg/SlotRows.cpp).
class RowStore {
public:
  /// Outside control flow. Of a block of `threads`, whole warps.
  RowStore(DeviceKernel &k, LayerBuffers &layer, int64_t threads);

  /// By all threads together. `number` gives a channel as f32; `stored` gets each channel and what readers see of it, by
  /// the thread that writes it.
  void operator()(StringRef pool, const SlotPlace &place, function_ref<Value(Value channel)> number,
                  function_ref<void(Value channel, Value seen)> stored = [](Value, Value) {});

private:
  Value largest(Value own);

  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  int64_t threads;
  Span totals; // f32 of each warp, for layouts with codes
};

} // namespace sparse::device

#endif
