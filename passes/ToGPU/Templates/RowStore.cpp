//===-- RowStore.cpp - The key or value of a slot, written by a block ---------------------------------------------===//
#include "passes/ToGPU/Templates/RowStore.h"
#include "passes/ToLinalg/Lowering.h"
#include "passes/ToLinalg/StoredNumbers.h"

using namespace sparse;
using namespace sparse::device;

static SmallVector<Value> placeInPool(StringRef pool, const SlotPlace &place, Value channel) {
  return lowering::placeInPool(pool, place.physical, place.lane, channel);
}

static Buffer &scalesOf(LayerBuffers &layer, StringRef pool) { return layer[lowering::scaleOfPool(pool)]; }

RowReader::RowReader(DeviceKernel &k, LayerBuffers &layer, StringRef pool, const SlotPlace &place)
    : k(k), layer(layer), pool(pool), place(place) {
  if (layer.layout.isQuantized())
    scale = k.d.toF32(k.load(scalesOf(layer, pool), {place.sequence, place.head, place.slot}));
}

Value RowReader::operator()(Value channel) {
  Value number = k.d.toF32(k.load(layer[pool], placeInPool(pool, place, channel)));
  return scale ? k.d.mulF(number, scale) : number;
}

RowStore::RowStore(DeviceKernel &k, LayerBuffers &layer, int64_t threads) : k(k), d(k.d), layer(layer), threads(threads) {
  if (layer.layout.isQuantized())
    largest.emplace(d, d.b.getF32Type(), threads / kWarp, "largest");
}

void RowStore::operator()(StringRef pool, const SlotPlace &place, function_ref<Value(Value channel)> number,
                          function_ref<void(Value channel, Value seen)> stored) {
  kvcache::LayoutAttr layout = layer.layout;
  Type element = layout.getElementType();
  Value width = d.i32(pool == "key" ? layout.getKeyDim() : layout.getValueDim()), step = d.i32(threads), scale;
  if (layout.isQuantized()) {
    Value own = d.loop(d.threadId(), width, step, d.f32(0), [&](Value channel, ValueRange carried) {
      Value magnitude = math::AbsFOp::create(d.b, d.loc, number(channel));
      return SmallVector<Value>{d.maxF(carried[0], magnitude)};
    })[0];
    scale = lowering::scaleFor(d.b, d.loc, (*largest)(d.warpMax(own), [&](Value a, Value c) { return d.maxF(a, c); }), element);
    d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] {
      k.store(lowering::writeScale(d.b, d.loc, scale), scalesOf(layer, pool), {place.sequence, place.head, place.slot});
    });
  }
  d.loop(d.threadId(), width, step, [&](Value channel) {
    Value x = number(channel);
    Value written = d.fromF32(scale ? d.divF(x, scale) : x, element);
    k.store(written, layer[pool], placeInPool(pool, place, channel));
    Value seen = d.toF32(written);
    stored(channel, scale ? d.mulF(seen, scale) : seen);
  });
}
