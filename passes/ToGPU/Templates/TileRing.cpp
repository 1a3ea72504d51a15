//===-- TileRing.cpp - Tiles of a warp on their way through shared memory -----------------------------------------===//
#include "passes/ToGPU/Templates/TileRing.h"
#include "passes/ToGPU/AsyncCopy.h"

using namespace sparse;
using namespace sparse::device;

TileRing::TileRing(DeviceKernel &k, LayerBuffers &layer, int64_t memory)
    : k(k), d(k.d), layer(layer), layout(layer.layout), memory(d.dynamicShared(d.b.getIntegerType(8 * layer.layout.getElementBytes()), memory)),
      policy(evictFirst(k.d)) {}

Value TileRing::startOf(Value stage) {
  Value place = d.add(d.mul(d.warp(), d.i32(kStages)), stage);
  return d.mul(place, d.i32(tileElements(layout)));
}

/// Elements of a copy.
int64_t TileRing::copied() { return kCopyBytes / layout.getElementBytes(); }

/// Element, in a block of rows of `dim`, of a copy's chunk. Of 16 bits, eight lanes read at once: four chunks of two
/// neighbouring rows for keys, two chunks of four even (or odd) rows for values. Of 8 bits, sixteen lanes: two chunks of
/// four neighbouring, or four even (or odd), rows.
Value TileRing::placeOf(Value row, Value chunk, int64_t dim) {
  int64_t chunks = dim / copied(), mask = std::min<int64_t>(chunks & -chunks, 8) - 1;
  Value turn = d.bitXor(d.bitAnd(row, d.i32(6)), d.shl(d.bitAnd(row, d.i32(1)), 2));
  Value turned = d.bitXor(chunk, d.bitAnd(turn, d.i32(mask)));
  return d.add(d.mul(row, d.i32(dim)), d.mul(turned, d.i32(copied())));
}

void TileRing::copyRows(Value from, Span pool, Value to, int64_t dim) {
  int64_t chunks = dim / copied(), all = kTileSlots * chunks;
  for (int64_t i = 0; i < all; i += kWarp) {
    Value own = d.add(d.lane(), d.i32(i));
    auto copy = [&] {
      Value place = d.add(to, placeOf(d.divU(own, chunks), d.remU(own, chunks), dim));
      Value source = d.add(d.add(from, d.wide(d.mul(d.lane(), d.i32(copied())))), d.i64(i * copied()));
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

SmallVector<Value> TileRing::read(Value start, Value row, Value chunk, int64_t dim) {
  int64_t words = kLoadChannels * layout.getElementBytes() / 4, ofCopy = copied() / kLoadChannels;
  Value at = d.add(start, placeOf(row, d.divU(chunk, ofCopy), dim));
  if (ofCopy > 1)
    at = d.add(at, d.mul(d.remU(chunk, ofCopy), d.i32(kLoadChannels)));
  Value vector = d.bitcast(d.load(memory, at, kLoadChannels), VectorType::get({words}, d.b.getI32Type()));
  SmallVector<Value> registers;
  for (int64_t i = 0; i < words; ++i)
    registers.push_back(d.element(vector, i));
  return registers;
}

SmallVector<Value> TileRing::key(Value stage, Value row, Value chunk) {
  return read(startOf(stage), row, chunk, layout.getKeyDim());
}

SmallVector<Value> TileRing::value(Value stage, Value row, Value chunk) {
  return read(d.add(startOf(stage), d.i32(kTileSlots * layout.getKeyDim())), row, chunk, layout.getValueDim());
}
