//===-- PromptBlock.h - A block's view of the rows of a prompt and of the cache's tiles ------------------*- C++ -*-===//
//
// What kernels over a prompt's rows share: tiles of 64 slots in shared memory, products of sixteen rows of one query head
// with a tile's keys on tensor cores, and which slots a row may see.
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_PROMPTBLOCK_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_PROMPTBLOCK_H

#include "passes/ToGPU/DeviceKernel.h"

#include <array>

namespace sparse::device {

inline constexpr int64_t kRowsOfWarp = 16, kSlotsOfTile = 64;

/// Score of a hidden slot, and the least that a row's largest score counts as: their difference is a weight of 0.
inline constexpr double kHiddenScore = -1e30, kLeastTop = -1e29;

/// Why tensor cores can't multiply a prompt's rows with the keys of a cache of this layout; empty when they can.
std::string whyNotPrompt(kvcache::LayoutAttr layout, Value query, double softcap);

class PromptBlock {
public:
  using Row = std::array<Value, 2>; // of a lane: rows g and g + 8 of its warp

  /// Keys or values of one tile in shared memory; rows longer by an odd number of chunks have no bank conflicts.
  struct Tile {
    int64_t width; // elements of a slot
    int64_t stride() const { return width + 8; }
    int64_t elements() const { return kSlotsOfTile * stride(); }
  };

  /// Of an op with `query`, `positions` and `sequences`.
  PromptBlock(DeviceKernel &k, Value state, Value query, Value positions, Value sequences, int64_t window, int64_t warps);

  /// Sixteen rows from `first` on become this warp's.
  void locateRows(Value first);
  /// Query fragments of the warp's rows: 4 of every 16 channels.
  SmallVector<Value> loadQuery(Value head);
  /// Starts the copy of a tile of keys, or values ("key", "value"). Slots past the end repeat the last one.
  void copyTile(const Tile &shape, Span target, StringRef pool, Value tile, Value stage);
  /// The same of codes, which pass through registers: the loads, and what they become.
  SmallVector<Value> loadTile(const Tile &shape, StringRef pool, Value tile);
  void storeTile(const Tile &shape, Span target, ValueRange loaded, Value stage);
  /// Registers of a thread for that.
  int64_t wordsOf(const Tile &shape);
  /// Products of query fragments with the tile's keys: 4 of every 8 slots.
  SmallVector<Value> scores(ArrayRef<Value> query, Value stage);
  /// Two of every 8 slots of each row times the slots' scales in a pool of codes; a scale past the end counts 0.
  SmallVector<Value> scaled(StringRef pool, Value tile, ValueRange values);
  /// Scores with those of slots that a row may not see replaced.
  SmallVector<Value> hide(Value tile, ValueRange scores);
  int64_t queryHeads() { return query.size(1) / layout.getKeyDim(); }

  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  kvcache::LayoutAttr layout;
  Buffer &query, &positions, &sequences;
  int64_t window, warps;
  Tile keyTile, valueTile;
  Type element;
  Span keys;                        // shared, all stages
  Value kvHead, sequence, slots;    // slots: that count
  Value lane, inGroup, group;       // lane % 4 and lane / 4
  Value firstRow;
  Row row, position;

private:
  void forChunks(const Tile &shape, function_ref<void(Value index, Value inside)> use);
  Value sourceOf(const Tile &shape, StringRef pool, Value tile, Value index);
  Value targetOf(const Tile &shape, Value stage, Value index);
  Value visible(unsigned row, Value slot, Value keyPosition);
};

} // namespace sparse::device

#endif
