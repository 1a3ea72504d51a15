//===-- PageList.h - The pages that a decode row reads ---------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_PAGELIST_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_PAGELIST_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// The pages that one row reads through one selecting head, ascending: the selected ones, or all in use. The meaning is
/// that of the linalg lowering (passes/ToLinalg/Attend.cpp). Values are i32.
struct PageList {
  PageList(DeviceKernel &k, Value state, Value positions, Value sequences, int64_t selecting, Value row, Value head);
  /// The list (tensors of the kernel's region); null for a dense one. Sets `pages`.
  void take(Value indices, Value count);

  Value logical(Value i);          // page i of the list
  Value physical(Value logical);   // its place in the pool
  Value keyPosition(Value logical, Value slot); // of a slot of the page; -1 for a free one
  /// The scale (f32) of the codes of a slot of the page in "key" or "value"; null where pages hold the numbers themselves.
  Value scale(StringRef pool, Value logical, Value slot);
  /// Whether the row may see a key at that position: live, not in the future, within the model's window (-1: none) and
  /// the layer's policies' view.
  Value isVisible(Value keyPosition, int64_t window);
  /// Pages of one segment: `segment`, or for 0 what makes `segments` equal ones.
  Value segmentLength(int64_t segment, int64_t segments);

  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  Value row, head, kvHead, sequence, queryPosition, pages; // pages: how many

private:
  Buffer *indices = nullptr;
};

/// Pages in use by a KV head of a sequence, after the layer's counter.
Value pagesInUse(DeviceKernel &k, LayerBuffers &layer, Value sequence, Value kvHead);

/// What a selection reads of a KV head: `pages` of the `used` ones, all if the budget allows as many (i32).
struct SelectedPages {
  SelectedPages(DeviceKernel &k, LayerBuffers &layer, sparsity::SelectOp op, Value sequence, Value kvHead);

  Value used, budget, pages;
};

/// f32 vector of `width` neighbours in the last dimension of a buffer of floats; wide loads when the buffer allows them.
Value loadRow(DeviceKernel &k, const Buffer &buffer, ValueRange indices, int64_t width);

/// Why a warp can't read the cache's rows 16 bytes at a time; empty when it can.
std::string whyNotWideRows(kvcache::LayoutAttr layout);

} // namespace sparse::device

#endif
