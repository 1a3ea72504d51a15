//===-- BestSlot.h - The slot of the least key -----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_BESTSLOT_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_BESTSLOT_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// The best slot so far: its key (f32; the least is the best), the position of its token (of equal keys the oldest
/// token's), and itself. No order of comparisons changes it.
struct BestSlot {
  Value key, position, slot;

  static BestSlot none(Device &d);
  SmallVector<Value> pack() const { return {key, position, slot}; }
  static BestSlot unpack(ValueRange packed) { return {packed[0], packed[1], packed[2]}; }

  BestSlot orBetter(Device &d, const BestSlot &other) const;
  /// This one where the condition holds, else none.
  BestSlot onlyIf(Device &d, Value condition) const;
  /// The best of groups of `lanes` neighbouring lanes, or of every `every`-th lane of the warp; all get it.
  BestSlot ofLanes(Device &d, int64_t lanes, int64_t every = 1) const;
  BestSlot ofWarp(Device &d, int64_t every = 1) const { return ofLanes(d, kWarp, every); }
};

/// A best slot of every warp of a block, or of each of another number of places, in shared memory.
class BestSlots {
public:
  /// Outside control flow. For `ofBlock` `warps` is a power of two, at most 32.
  BestSlots(Device &d, int64_t warps, StringRef name);

  void put(const BestSlot &best, Value place);
  /// What this block has put, after a barrier.
  BestSlot at(Value place);
  /// What block `rank` of the cluster has put.
  BestSlot ofRank(Value rank, Value place);
  /// The best of the block's, in its first warp; contains a barrier. `own` is the same in all lanes of a warp.
  BestSlot ofBlock(const BestSlot &own);

private:
  Device &d;
  int64_t warps;
  Span keys, positions, slots;
};

} // namespace sparse::device

#endif
