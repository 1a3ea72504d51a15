//===-- TileRing.h - Tiles of a warp on their way through shared memory ----------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_TILERING_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_TILERING_H

#include "passes/ToGPU/Templates/AttendMma.h"

namespace sparse::device {

/// Places for `kStages` tiles of each warp. While a warp works on one tile the copies of the next are under way, without
/// registers. The chunks of 16 bytes of row r stand in another order for each r, such that the reads of no fragment meet in
/// a bank, whether they take 16 bytes or, of codes, 8.
class TileRing {
public:
  static constexpr int64_t kStages = 2;

  TileRing(DeviceKernel &k, LayerBuffers &layer, int64_t memory); // byte of the dynamic shared memory
  static int64_t bytes(kvcache::LayoutAttr layout, int64_t warps) { return warps * kStages * tileElements(layout) * layout.getElementBytes(); }

  /// Begins the copies of a tile to this warp's place `stage` (i32).
  void fetch(TilePlace place, Value stage);
  /// Eight channels of a row of the tile's keys, or values, as registers; `chunk` counts them.
  SmallVector<Value> key(Value stage, Value row, Value chunk);
  SmallVector<Value> value(Value stage, Value row, Value chunk);

private:
  static int64_t tileElements(kvcache::LayoutAttr layout) {
    return kTileSlots * (layout.getKeyDim() + layout.getValueDim());
  }
  Value startOf(Value stage);
  Value placeOf(Value row, Value chunk, int64_t dim);
  void copyRows(Value from, Span pool, Value to, int64_t dim);
  int64_t copied();
  SmallVector<Value> read(Value start, Value row, Value chunk, int64_t dim);

  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  kvcache::LayoutAttr layout;
  Span memory;
  Value policy; // of the copies: first to leave the L2 cache
};

} // namespace sparse::device

#endif
