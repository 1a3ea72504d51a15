//===-- LikelyVictims.h - The nearest keys of likely victims, found while attention reads the keys -------*- C++ -*-===//
//
// Query heads leave rows of attention's products free. The keys of slots that the compression before thinks likely to be
// evicted next take them (field `likely`), so that a policy that merges a victim into its nearest key need not read all keys
// again. The meaning is that of the linalg lowering of `sparsity.nearest_part` (passes/ToLinalg/Merge.cpp).
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_LIKELYVICTIMS_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_LIKELYVICTIMS_H

#include "passes/ToGPU/Templates/BestSlot.h"
#include "passes/ToGPU/Templates/PageList.h"

namespace sparse::device {

struct QueryFragments;

class LikelyVictims {
public:
  /// Behind `heads` query heads; `results` are the kernel's from `firstResult` on. Outside control flow.
  LikelyVictims(DeviceKernel &k, sparsity::NearestPartOp op, PageList &list, int64_t heads, int64_t warps,
                size_t firstResult);

  /// Finds the slots and puts their keys into the rows behind those of the heads.
  void join(QueryFragments &queries);
  /// The better of `best`, which lanes 4 g + t have of row g's victim, and this lane's four `slots` of a tile. `keys` are
  /// the tile's registers [half][load][word], `dots` the row's products with the slots.
  BestSlot compare(ValueRange keys, ValueRange dots, ValueRange slots, ValueRange positions, BestSlot best) const;
  /// Leaves the warp's best in the block's memory.
  void leave(const BestSlot &best);
  /// After a barrier, by all threads.
  void store(Value segment);
  /// What a segment past the end of the list has.
  void storeNone(Value segment);

private:
  void put(const BestSlot &best, Value segment, Value victim);

  DeviceKernel &k;
  Device &d;
  PageList &list;
  int64_t heads, count, warps;
  size_t firstResult;
  Type element;
  Value group, quad;
  Value wanted, inverse; // this lane's victim: its slot, -1 for none; one over the length of its key
  BestSlots ofWarps;
};

} // namespace sparse::device

#endif
