//===-- TileRing.h - Tiles of a warp on their way through shared memory ----------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_TILERING_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_TILERING_H

#include "passes/ToGPU/AsyncCopy.h"
#include "passes/ToGPU/Templates/AttendMma.h"

namespace sparse::device {

using sparsity::TileCopy;

/// Places for `kStages` tiles of each warp. While a warp works on one tile the copies of the next are under way,
/// without registers. The reads of no fragment meet in a bank, whether they take 16 bytes or, of codes, 8: the chunks
/// of 16 bytes of row r stand in another order for each r, or, where the copy engine brings whole rows, rows are apart.
class TileRing {
public:
  static constexpr int64_t kStages = 2;

  /// Outside control flow, by all threads of a block of `warps`; contains a barrier where the engine copies. `memory`:
  /// byte of the dynamic shared memory, a multiple of 128.
  TileRing(DeviceKernel &k, LayerBuffers &layer, int64_t memory, int64_t warps, TileCopy copies);
  static int64_t bytes(kvcache::LayoutAttr layout, int64_t warps, TileCopy copies);

  /// Begins the copies of a tile to this warp's place `stage` (i32).
  void fetch(TilePlace place, Value stage);
  /// After the copies of a tile, or of none.
  void commit();
  /// Until the oldest tile has come, which is in `stage` and the `round`-th (i32) there.
  void wait(Value stage, Value round);
  /// Eight channels of a row of the tile's keys, or values, as registers; `chunk` counts them.
  SmallVector<Value> key(Value stage, Value row, Value chunk);
  SmallVector<Value> value(Value stage, Value row, Value chunk);

private:
  /// Rows of keys or values in shared memory.
  struct Rows {
    int64_t dim, pitch; // elements
  };
  struct Tile {
    Rows keys, values;
    int64_t elements() const { return kTileSlots * (keys.pitch + values.pitch); }
  };
  static Tile tileOf(kvcache::LayoutAttr layout, TileCopy copies);
  static int64_t copied(kvcache::LayoutAttr layout) { return kCopyBytes / layout.getElementBytes(); } // elements of a chunk

  Value startOf(Value stage);
  Value startOfValues(Value stage) { return d.add(startOf(stage), d.i32(kTileSlots * tile.keys.pitch)); }
  Value placeOf(Value row, Value chunk, const Rows &rows);
  void copyRows(Value from, Span pool, Value to, const Rows &rows);
  void fetchBulk(Value key, Value value, Value stage);
  BulkBarrier barrierOf(Value stage);
  SmallVector<Value> read(Value start, Value row, Value chunk, const Rows &rows);

  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  kvcache::LayoutAttr layout;
  TileCopy copies;
  Tile tile;
  Span memory, barriers; // barriers: i64 of each place, for the copy engine
  Value policy; // of the copies: first to leave the L2 cache
};

} // namespace sparse::device

#endif
