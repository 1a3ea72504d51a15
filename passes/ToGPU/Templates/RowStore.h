//===-- RowStore.h - The key or value of a slot, written by a block --------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ROWSTORE_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ROWSTORE_H

#include "passes/ToGPU/DeviceKernel.h"
#include "passes/ToGPU/Templates/BlockFold.h"

namespace sparse::device {

/// Where a slot is. i32.
struct SlotPlace {
  Value sequence, head, slot, physical, lane; // the page in the pool, and the place in the page
};

/// The numbers (f32) that readers see in a slot's row; `pool` is "key" or "value".
class RowReader {
public:
  /// Reads the scale where there is one.
  RowReader(DeviceKernel &k, LayerBuffers &layer, StringRef pool, const SlotPlace &place);
  Value operator()(Value channel);

private:
  DeviceKernel &k;
  LayerBuffers &layer;
  StringRef pool;
  SlotPlace place;
  Value scale;
};

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
  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  int64_t threads;
  std::optional<BlockFold> largest; // for layouts with codes
};

} // namespace sparse::device

#endif
