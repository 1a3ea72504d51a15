//===-- Match.h - The targets of the victim of a decode step ---------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_MATCH_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_MATCH_H

#include "passes/ToGPU/Templates/BestSlot.h"
#include "passes/ToGPU/Templates/MergeParts.h"

namespace sparse::device {

/// The victim of one KV head of a row: blocks (x, head, row), the one with x = 0 writes. i32.
struct HeadMatch {
  explicit HeadMatch(DeviceKernel &k);

  /// `find` where the policy merges a victim, with `extent` set; else no target. The condition is the same in all
  /// blocks of the head.
  void whereEvicted(function_ref<void()> find);
  Value positionOf(Value slot) { return k.load(merge.layer["position"], {merge.sequence, head, slot}); }
  Value victim() { return k.load(merge.layer["victim"], {merge.sequence, head}); }
  void putTarget(Value slot, Value place) { k.store(slot, k.results[0], {row, head, place}); }
  void putShare(Value share) { k.store(share, k.results[1], {row, head}); }

  DeviceKernel &k;
  Device &d;
  sparsity::MatchOp op;
  Value row, head;
  HeadMerge merge;
  Value position, extent; // position: the victim's
};

/// The whole kernel of a policy that merges into followers.
void emitFollowing(DeviceKernel &k);

/// The nearest key: a cluster of blocks for each head compares parts of the slots.
class NearestMatch {
public:
  static constexpr int64_t kWarps = 8;

  /// Sets the geometry. Outside control flow.
  explicit NearestMatch(DeviceKernel &k);
  /// `best`: the best slot, by the negative of its cosine, of those that this warp has compared.
  void emit(function_ref<BestSlot(HeadMatch &h)> best);
  /// This warp among those of the head, and their number.
  Value warp();
  int64_t warps() const { return blocks * kWarps; }

private:
  DeviceKernel &k;
  Device &d;
  int64_t blocks;
  BestSlots ofWarps, ofBlocks;
};

/// The key of `slot` in the pool, and where the page in the pool is known.
Span keyOfSlot(HeadMatch &h, Value slot);
Span keyInPage(HeadMatch &h, Value physical, Value slot);
/// A length from its square.
Value normOf(Device &d, Value squares);

} // namespace sparse::device

#endif
