//===-- TileRing.cpp - Tiles of a warp on their way through shared memory -----------------------------------------===//
#include "passes/ToGPU/Templates/TileRing.h"
#include "passes/ToGPU/AsyncCopy.h"

using namespace sparse;
using namespace sparse::device;

TileRing::TileRing(DeviceKernel &k, LayerBuffers &layer, int64_t memory)
    : k(k), d(k.d), layer(layer), layout(layer.layout), memory(d.dynamicShared(layer.layout.getType(), memory)),
      policy(evictFirst(k.d)) {}

Value TileRing::startOf(Value stage) {
  Value place = d.add(d.mul(d.warp(), d.i32(kStages)), stage);
  return d.mul(place, d.i32(tileElements(layout)));
}

/// Element, in a block of rows of `dim`, of a chunk. Eight lanes read at once: four chunks of two neighbouring rows for keys,
/// two chunks of four even (or odd) rows for values.
Value TileRing::placeOf(Value row, Value chunk, int64_t dim) {
  int64_t chunks = dim / kLoadChannels, mask = std::min<int64_t>(chunks & -chunks, 8) - 1;
  Value turn = d.bitXor(d.bitAnd(row, d.i32(6)), d.shl(d.bitAnd(row, d.i32(1)), 2));
  Value turned = d.bitXor(chunk, d.bitAnd(turn, d.i32(mask)));
  return d.add(d.mul(row, d.i32(dim)), d.mul(turned, d.i32(kLoadChannels)));
}

void TileRing::copyRows(Value from, Span pool, Value to, int64_t dim) {
  int64_t chunks = dim / kLoadChannels, all = kTileSlots * chunks;
  for (int64_t i = 0; i < all; i += kWarp) {
    Value own = d.add(d.lane(), d.i32(i));
    auto copy = [&] {
      Value place = d.add(to, placeOf(d.divU(own, chunks), d.remU(own, chunks), dim));
      Value source = d.add(d.add(from, d.wide(d.mul(d.lane(), d.i32(kLoadChannels)))), d.i64(i * kLoadChannels));
      copyOnce(d, d.pointer(memory, place), d.pointer(pool, source), policy);
    };
    if (i + kWarp <= all)
      copy();
    else
      d.ifThen(d.lt(own, d.i32(all)), copy);
  }
}

void TileRing::fetch(TilePlace place, Value stage) {
  Value to = startOf(stage), slot = d.mul(place.tile, d.i32(kTileSlots)), zero = d.i32(0);
  Buffer &key = layer["key"], &value = layer["value"];
  copyRows(k.offsetOf(key, {place.physical, zero, slot}), key.span, to, layout.getKeyDim());
  copyRows(k.offsetOf(value, {place.physical, slot, zero}), value.span,
           d.add(to, d.i32(kTileSlots * layout.getKeyDim())), layout.getValueDim());
}

SmallVector<Value> TileRing::read(Value at) {
  Value vector = d.bitcast(d.load(memory, at, kLoadChannels), VectorType::get({4}, d.b.getI32Type()));
  SmallVector<Value> registers;
  for (int64_t i = 0; i < 4; ++i)
    registers.push_back(d.element(vector, i));
  return registers;
}

SmallVector<Value> TileRing::key(Value stage, Value row, Value chunk) {
  return read(d.add(startOf(stage), placeOf(row, chunk, layout.getKeyDim())));
}

SmallVector<Value> TileRing::value(Value stage, Value row, Value chunk) {
  Value start = d.add(startOf(stage), d.i32(kTileSlots * layout.getKeyDim()));
  return read(d.add(start, placeOf(row, chunk, layout.getValueDim())));
}
