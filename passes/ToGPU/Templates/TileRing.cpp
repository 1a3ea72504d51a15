//===-- TileRing.cpp - Tiles of a warp on their way through shared memory -----------------------------------------===//
#include "passes/ToGPU/Templates/TileRing.h"

using namespace sparse;
using namespace sparse::device;

/// Eight lanes read 16 bytes each at once, sixteen lanes 8: of 16 bits four chunks of two neighbouring rows for keys,
/// two chunks of four even (or odd) rows for values; of 8 bits two chunks of four neighbouring, or four even (or odd),
/// rows. Eight chunks make a line of all banks.
TileRing::Tile TileRing::tileOf(kvcache::LayoutAttr layout, TileCopy copies) {
  int64_t chunk = copied(layout), keyDim = layout.getKeyDim(), valueDim = layout.getValueDim();
  if (copies != TileCopy::Bulk)
    return {{keyDim, keyDim}, {valueDim, valueDim}};
  int64_t keys = keyDim / chunk, values = valueDim / chunk, apart = layout.isQuantized() ? 2 : 4;
  while (keys % 8 != apart)
    ++keys;
  return {{keyDim, keys * chunk}, {valueDim, (values | 1) * chunk}};
}

int64_t TileRing::bytes(kvcache::LayoutAttr layout, int64_t warps, TileCopy copies) {
  return warps * kStages * tileOf(layout, copies).elements() * layout.getElementBytes();
}

TileRing::TileRing(DeviceKernel &k, LayerBuffers &layer, int64_t memory, int64_t warps, TileCopy copies)
    : k(k), d(k.d), layer(layer), layout(layer.layout), copies(copies), tile(tileOf(layout, copies)),
      memory(d.dynamicShared(d.b.getIntegerType(8 * layout.getElementBytes()), memory)), policy(evictFirst(k.d)) {
  if (copies != TileCopy::Bulk)
    return;
  barriers = d.shared(d.b.getI64Type(), warps * kStages, "arrivals");
  d.ifThen(d.lt(d.threadId(), d.i32(warps * kStages)), [&] { BulkBarrier(d, barriers, d.threadId()).prepare(); });
  publishBarriers(d);
  d.barrier();
}

Value TileRing::startOf(Value stage) {
  Value place = d.add(d.mul(d.warp(), d.i32(kStages)), stage);
  return d.mul(place, d.i32(tile.elements()));
}

BulkBarrier TileRing::barrierOf(Value stage) {
  return BulkBarrier(d, barriers, d.add(d.mul(d.warp(), d.i32(kStages)), stage));
}

/// Element, in a block of rows, of a chunk.
Value TileRing::placeOf(Value row, Value chunk, const Rows &rows) {
  Value start = d.mul(row, d.i32(rows.pitch));
  if (copies != TileCopy::Bulk) {
    int64_t chunks = rows.dim / copied(layout), mask = std::min<int64_t>(chunks & -chunks, 8) - 1;
    Value turn = d.bitXor(d.bitAnd(row, d.i32(6)), d.shl(d.bitAnd(row, d.i32(1)), 2));
    chunk = d.bitXor(chunk, d.bitAnd(turn, d.i32(mask)));
  }
  return d.add(start, d.mul(chunk, d.i32(copied(layout))));
}

void TileRing::copyRows(Value from, Span pool, Value to, const Rows &rows) {
  int64_t ofCopy = copied(layout), chunks = rows.dim / ofCopy, all = kTileSlots * chunks;
  for (int64_t i = 0; i < all; i += kWarp) {
    Value own = d.add(d.lane(), d.i32(i));
    auto copy = [&] {
      Value place = d.add(to, placeOf(d.divU(own, chunks), d.remU(own, chunks), rows));
      Value source = d.add(d.add(from, d.wide(d.mul(d.lane(), d.i32(ofCopy)))), d.i64(i * ofCopy));
      if (copies == TileCopy::Async)
        copyOnce(d, d.pointer(memory, place), d.pointer(pool, source), policy);
      else
        d.store(d.load({pool.base, memory.element}, source, ofCopy), memory, place);
    };
    if (i + kWarp <= all)
      copy();
    else
      d.ifThen(d.lt(own, d.i32(all)), copy);
  }
}

/// Lanes below 16 bring a key each, the others a value.
void TileRing::fetchBulk(Value key, Value value, Value stage) {
  static_assert(2 * kTileSlots == kWarp);
  int64_t bytes = layout.getElementBytes();
  BulkBarrier barrier = barrierOf(stage);
  d.ifThen(d.eq(d.lane(), d.i32(0)),
           [&] { barrier.expect(d.i32(kTileSlots * (tile.keys.dim + tile.values.dim) * bytes)); });
  Value row = d.remU(d.lane(), kTileSlots), isKey = d.lt(d.lane(), d.i32(kTileSlots));
  auto sourceOf = [&](Span pool, Value from, const Rows &rows) {
    return d.pointer(pool, d.add(from, d.wide(d.mul(row, d.i32(rows.dim)))));
  };
  Value keySource = sourceOf(layer["key"].span, key, tile.keys), valueSource = sourceOf(layer["value"].span, value, tile.values);
  Value keyTarget = d.add(startOf(stage), d.mul(row, d.i32(tile.keys.pitch)));
  Value valueTarget = d.add(startOfValues(stage), d.mul(row, d.i32(tile.values.pitch)));
  barrier.copy(d.pointer(memory, d.select(isKey, keyTarget, valueTarget)), d.select(isKey, keySource, valueSource),
               d.select(isKey, d.i32(tile.keys.dim * bytes), d.i32(tile.values.dim * bytes)), policy);
}

void TileRing::fetch(TilePlace place, Value stage) {
  Value slot = d.mul(place.tile, d.i32(kTileSlots)), zero = d.i32(0);
  Buffer &keys = layer["key"], &values = layer["value"];
  Value key = k.offsetOf(keys, {place.physical, zero, slot}), value = k.offsetOf(values, {place.physical, slot, zero});
  if (copies == TileCopy::Bulk)
    return fetchBulk(key, value, stage);
  copyRows(key, keys.span, startOf(stage), tile.keys);
  copyRows(value, values.span, startOfValues(stage), tile.values);
}

void TileRing::commit() {
  if (copies == TileCopy::Async)
    commitCopies(d);
}

void TileRing::wait(Value stage, Value round) {
  if (copies == TileCopy::Bulk)
    return barrierOf(stage).wait(d.bitAnd(round, d.i32(1)));
  if (copies == TileCopy::Async)
    waitForCopies(d, kStages - 1);
  d.syncWarp();
}

SmallVector<Value> TileRing::read(Value start, Value row, Value chunk, const Rows &rows) {
  int64_t words = kLoadChannels * layout.getElementBytes() / 4, ofCopy = copied(layout) / kLoadChannels;
  Value at = d.add(start, placeOf(row, d.divU(chunk, ofCopy), rows));
  if (ofCopy > 1)
    at = d.add(at, d.mul(d.remU(chunk, ofCopy), d.i32(kLoadChannels)));
  Value vector = d.bitcast(d.load(memory, at, kLoadChannels), VectorType::get({words}, d.b.getI32Type()));
  SmallVector<Value> registers;
  for (int64_t i = 0; i < words; ++i)
    registers.push_back(d.element(vector, i));
  return registers;
}

SmallVector<Value> TileRing::key(Value stage, Value row, Value chunk) {
  return read(startOf(stage), row, chunk, tile.keys);
}

SmallVector<Value> TileRing::value(Value stage, Value row, Value chunk) {
  return read(startOfValues(stage), row, chunk, tile.values);
}
