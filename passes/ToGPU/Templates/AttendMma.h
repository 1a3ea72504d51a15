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
#include "passes/ToGPU/Templates/BestSlot.h"
#include "passes/ToGPU/Templates/PageList.h"

namespace sparse::device {

/// Slots of a tile, query heads of a product, channels of one load.
inline constexpr int64_t kTileSlots = 16, kProductHeads = 8, kLoadChannels = 8;

/// Why tensor cores can't attend over a cache of this layout; empty when they can.
std::string whyNotMma(kvcache::LayoutAttr layout);

/// Warps of a block, the same for dense lists and for selected ones, as a block folds its warps in order.
inline constexpr int64_t kAttendWarps = 8;

/// Queries rounded to the cache's type, and what that left over: four registers for each load of a lane.
struct QueryFragments {
  SmallVector<Value> high, low;

  /// Heads [first, first + heads) of the row; `shape` changes a query vector (f32) before it is rounded.
  static QueryFragments load(DeviceKernel &k, const Buffer &query, Value row, Value firstHead, Value heads, int64_t dim,
                             Type element, function_ref<Value(Value)> shape = nullptr);
};

/// Query fragments in shared memory, where they cost no registers between products; all warps have the same.
class SharedQueries {
public:
  SharedQueries(Device &d, const QueryFragments &fragments);
  /// { high, low } of load j, four registers each; after a barrier.
  std::pair<SmallVector<Value>, SmallVector<Value>> read(int64_t j) const;

private:
  Device &d;
  Span words;
};

/// The state of one warp: for head g of each lane, its largest score (a power of two), this lane's sum of weights, and
/// the sums of products; the nearest slot so far where row g stands for a likely victim.
struct MmaState {
  Value top, sum;
  SmallVector<Value> products; // [group of 64 channels][8][4]
  std::optional<BestSlot> nearest;

  static MmaState empty(Device &d, int64_t valueDim);
  /// A state like this one of other values.
  MmaState with(ValueRange packed) const;
  SmallVector<Value> pack() const;
};

/// Where a tile is: its page in the list's numbering and in the pool, and which of the page's tiles it is.
struct TilePlace {
  Value logical, physical, tile;
};

class TileRing;
class LikelyVictims;

class MmaAttention {
public:
  MmaAttention(DeviceKernel &k, PageList &list, int64_t window, double scale, double softcap, SharedQueries queries);

  /// Folds tiles first, first + step, … below `last` into the state. The loads of a tile go into the registers of the one
  /// before as soon as these are free, and are under way while the rest of it is folded.
  MmaState foldTiles(Value first, Value last, Value step, MmaState state, function_ref<TilePlace(Value at)> find);
  /// The same with tiles that come through shared memory: more of them are under way, and they take no registers.
  MmaState foldTiles(Value first, Value last, Value step, MmaState state, function_ref<TilePlace(Value at)> find,
                     TileRing &ring);
  /// Lets `use` have each score (natural, kHidden where hidden) of this lane: of slot `slot` of the list's pages and head `head`
  /// of the product.
  void keepScores(std::function<void(Value slot, Value head, Value score)> use) { keep = std::move(use); }
  /// Looks for the nearest keys of the victims that the queries' fragments hold, with states that have a `nearest`.
  void findNearest(const LikelyVictims *victims) { likely = victims; }
  /// Leaves the warp's state in the block's memory.
  void leave(const MmaState &state, AttendBlock &block);

  static int64_t tilesOfPage(kvcache::LayoutAttr layout) { return layout.getPage() / kTileSlots; }

private:
  SmallVector<Value> loadKeys(TilePlace place);
  SmallVector<Value> loadValues(TilePlace place);
  /// Scales of this lane's slots, of keys and then of values: two registers of two each; none without codes.
  SmallVector<Value> loadScales(TilePlace place);
  /// One of them as four f32.
  SmallVector<Value> scalesOf(ValueRange loaded, StringRef pool);
  /// Registers of memory as registers of two elements that are multiplied.
  SmallVector<Value> unpack(ValueRange loaded);
  /// Weights of this lane's slots as left operands; the state's sums shrink where its top grew. `visible` becomes which of
  /// the slots may be seen.
  SmallVector<Value> weigh(TilePlace place, ValueRange keys, ValueRange scales, MmaState &state,
                           SmallVectorImpl<Value> &visible);
  void addValues(ValueRange weights, ValueRange values, ArrayRef<Value> visible, MmaState &state);
  SmallVector<Value> scores(ValueRange keys);

  DeviceKernel &k;
  Device &d;
  PageList &list;
  int64_t window;
  double scale, softcap;
  SharedQueries queries;
  std::function<void(Value, Value, Value)> keep;
  const LikelyVictims *likely = nullptr;
  StreamLoad stream;
  kvcache::LayoutAttr layout;
  Type element; // that is multiplied
  int64_t keyLoads, valueGroups, loadWords, scaleWords; // registers of one load, and of a tile's scales
  Value group, quad;        // g and t of this lane
  SmallVector<Value> slots; // of the tile, whose weights and values this lane has
};

} // namespace sparse::device

#endif
