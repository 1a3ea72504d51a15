//===-- EvictionKey.h - The key by which slots are evicted -----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_EVICTIONKEY_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_EVICTIONKEY_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// The eviction key (f32) of a slot whose token has `position` in the layer's KV head `head` (i32), +inf outside every
/// policy's heads; the meaning is that of lowering::evictionKey. `cap` is that of `capOf`, `fieldOf` gives the slot's
/// fields.
Value evictionKey(Device &d, kvcache::LayoutAttr layout, Value head, Value position, Value newest, Value cap,
                  function_ref<Value(StringRef name)> fieldOf);

/// The cap (i32) of a KV head; the meaning is that of lowering::capOf.
Value capOf(DeviceKernel &k, LayerBuffers &layer, Value sequence, Value head, Value newest);

} // namespace sparse::device

#endif
