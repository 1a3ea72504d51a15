//===-- SlotRows.cpp - The keys and values of single slots, as numbers --------------------------------------------===//
#include "passes/ToLinalg/Lowering.h"
#include "passes/ToLinalg/StoredNumbers.h"

using namespace sparse;
using namespace sparse::lowering;

Value sparse::lowering::slotScale(Emitter &e, LayerState &state, StringRef pool, Value sequence, Value head,
                                  Value slot) {
  if (!state.layout.isQuantized())
    return {};
  return readScale(e.b, e.loc, e.extract(state[scaleOfPool(pool)], {sequence, head, slot}));
}

Value sparse::lowering::numberOf(Emitter &e, Value stored, Value scale) {
  Value number = e.toF32(stored);
  return scale ? Value(arith::MulFOp::create(e.b, e.loc, number, scale)) : number;
}

SmallVector<Value> sparse::lowering::placeInPool(StringRef pool, Value physical, Value lane, Value channel) {
  if (pool == "key")
    return {physical, channel, lane};
  return {physical, lane, channel};
}

void sparse::lowering::storeRow(Emitter &e, LayerState &state, StringRef pool, Value sequence, Value head, Value slot,
                                Value physical, function_ref<Value(Value tensor, Value channel)> number) {
  kvcache::LayoutAttr layout = state.layout;
  int64_t width = pool == "key" ? layout.getKeyDim() : layout.getValueDim();
  Value lane = e.rem(slot, layout.getPage()), scale;
  if (layout.isQuantized()) {
    Value largest = e.loop(width, e.f32(0), [&](Value channel, ValueRange carried) {
      Value magnitude = math::AbsFOp::create(e.b, e.loc, number(state[pool], channel));
      return SmallVector<Value>{arith::MaxNumFOp::create(e.b, e.loc, carried[0], magnitude)};
    })[0];
    scale = scaleFor(e.b, e.loc, largest, layout.getElementType());
  }
  state[pool] = e.loop(width, state[pool], [&](Value channel, ValueRange carried) {
    Value x = number(carried[0], channel);
    if (scale)
      x = arith::DivFOp::create(e.b, e.loc, x, scale);
    return SmallVector<Value>{
        e.insert(e.fromF32(x, layout.getElementType()), carried[0], placeInPool(pool, physical, lane, channel))};
  })[0];
  if (scale) {
    StringRef name = scaleOfPool(pool);
    state[name] = e.insert(writeScale(e.b, e.loc, scale), state[name], {sequence, head, slot});
  }
}
