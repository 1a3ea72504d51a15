//===-- ContentFields.h - What a page knows of its keys --------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_CONTENTFIELDS_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_CONTENTFIELDS_H

#include "passes/ToGPU/Templates/RowStore.h"

namespace sparse::device {

/// The fields of pages that follow from keys alone.
SmallVector<kvcache::FieldAttr> contentFields(kvcache::LayoutAttr layout);

/// By all `threads` of a block: the content fields of a page, whose place in the pool is `physical`, from its first `used`
/// keys (i32, more than 0), with the bits that appending the keys one by one gives.
void rebuildContentFields(DeviceKernel &k, LayerBuffers &layer, Value sequence, Value head, Value page, Value physical,
                          Value used, int64_t threads);

/// By one thread: the content fields of a slot's page (logical `page`) after one more key, whose number in `channel` is `key`
/// (f32); `fresh` (i1) starts the page anew.
void foldIntoContentFields(DeviceKernel &k, LayerBuffers &layer, const SlotPlace &place, Value page, Value channel,
                           Value key, Value fresh);

} // namespace sparse::device

#endif
