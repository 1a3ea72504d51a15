//===-- AttendMma.h - Attention of one warp over tiles of sixteen slots, on tensor cores -----------------*- C++ -*-===//
//
// Scores are queries times keys: rows 0-7 of the left operand are the query heads, rows 8-15 what rounding them to the
// cache's type left over, so that queries count as f32. The keys go into the right operand straight from loads of 16
// bytes: which channel stands at which depth of the product is free, as long as queries and keys agree. Weights times
// values use the same trick with the weights. Lane 4 g + t holds head g; of a tile, slots 2 t, 2 t + 1, 2 t + 8, 2 t + 9.
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ATTENDMMA_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ATTENDMMA_H

#include "passes/ToGPU/StreamLoad.h"
#include "passes/ToGPU/Templates/AttendBlock.h"
#include "passes/ToGPU/Templates/PageList.h"

namespace sparse::device {

/// Slots of a tile, query heads of a product, channels of one load.
inline constexpr int64_t kTileSlots = 16, kProductHeads = 8, kLoadChannels = 8;

/// Why tensor cores can't attend over a cache of this layout; empty when they can.
std::string whyNotMma(kvcache::LayoutAttr layout);

/// Queries as left operands. `part` is what a query is multiplied by before it is rounded, or nothing.
struct QueryFragments {
  SmallVector<Value> high, low; // four registers for each load of a lane

  /// Heads [first, first + heads) of the row; `shape` changes a query vector (f32) before it is rounded.
  static QueryFragments load(DeviceKernel &k, const Buffer &query, Value row, Value firstHead, Value heads, int64_t dim,
                             Type element, function_ref<Value(Value)> shape = nullptr);
};

/// The state of one warp: for head g of each lane, its largest score (a power of two), this lane's sum of weights, and
/// the sums of products.
struct MmaState {
  Value top, sum;
  SmallVector<Value> products; // [group of 64 channels][8][4]

  static MmaState empty(Device &d, int64_t valueDim);
  static MmaState unpack(ValueRange packed);
  SmallVector<Value> pack() const;
};

struct MmaAttention {
  MmaAttention(DeviceKernel &k, PageList &list, int64_t window, double scale, double softcap, QueryFragments queries);

  /// Folds tile `tile` of the page into the state.
  void fold(Value logical, Value physical, Value tile, MmaState &state);
  /// Leaves the warp's state in the block's memory.
  void leave(const MmaState &state, AttendBlock &block);

  static int64_t tilesOfPage(kvcache::LayoutAttr layout) { return layout.getPage() / kTileSlots; }

private:
  DeviceKernel &k;
  Device &d;
  PageList &list;
  int64_t window;
  double scale, softcap;
  QueryFragments queries;
  StreamLoad stream;
  kvcache::LayoutAttr layout;
  Value group, quad; // g and t of this lane
};

} // namespace sparse::device

#endif
