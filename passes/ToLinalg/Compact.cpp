//===-- Compact.cpp - Cutting a sequence's heads to their caps ----------------------------------------------------===//
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::lowering;

using Pred = arith::CmpIPredicate;

/// In the order of the copies of `kvcache.gather`.
static constexpr StringLiteral kPools[] = {"key", "value"};

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Greatest t such that at least `wanted` slots below `extent` have `test(slot, t)`; test must be monotone in t.
static Value greatestThreshold(Emitter &e, Value extent, Value wanted, function_ref<Value(Value slot, Value t)> test) {
  Value start = e.i32(std::numeric_limits<int32_t>::min());
  return e.loop(32, start, [&](Value step, ValueRange carried) {
    Value bit = arith::ShLIOp::create(e.b, e.loc, e.i32(1), e.sub(e.i32(31), e.toI32(step)));
    Value candidate = e.add(carried[0], bit); // the top bit turns the least integer into 0: unsigned order
    Value reached = e.loop(e.index(0), extent, e.i32(0), [&](Value slot, ValueRange total) {
      Value one = arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), test(slot, candidate));
      return SmallVector<Value>{e.add(total[0], one)};
    })[0];
    return SmallVector<Value>{e.select(e.cmp(Pred::sge, reached, wanted), candidate, carried[0])};
  })[0];
}

void sparse::lowering::lowerChoose(Emitter &e, KernelContext &k, kvcache::ChooseOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  int64_t heads = layout.getKvHeads(), cap = tensorType(op.getOrder()).getDimSize(1), slots = layout.getMaxSlots();
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  Type i32 = e.b.getI32Type();

  SmallVector<Value> outputs{e.empty({heads, cap}, i32), e.empty({heads}, i32), e.empty({heads, slots}, i32)};
  SmallVector<Value> results = e.parallel({heads}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value head = ivs[0];
    Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
    Value hole = e.cmp(Pred::sge, e.extract(state["victim"], {sequence, head}), e.i32(0));
    Value live = e.sub(extent, e.select(hole, e.index(1), e.index(0)));
    Value last;
    if (layout.getCapOver()) { // An empty head has no tail, and is never over its cap.
      Value tail = arith::MaxSIOp::create(e.b, e.loc, e.extract(state["tail"], {sequence, head}), e.i32(0));
      last = e.extract(state["position"], {sequence, head, e.toIndex(tail)});
    }
    Value headCap = capOf(e, state, sequence, head, last);
    Value keep = e.min(live, headCap);
    // A head without cap has no victim and is never over its slots, so it is left alone.
    Value acts = e.either(hole, e.cmp(Pred::ugt, live, headCap));
    Value keepI32 = e.toI32(keep);

    SmallVector<Value> init{e.filled({cap}, e.i32(0)), e.filled({slots}, e.i32(0))};
    SmallVector<Value> chosen = e.ifThen(acts, init, [&]() -> SmallVector<Value> {
      auto positionOf = [&](Value slot) { return e.extract(state["position"], {sequence, head, slot}); };
      Value newest = e.loop(e.index(0), extent, e.i32(-1), [&](Value slot, ValueRange best) {
        return SmallVector<Value>{arith::MaxSIOp::create(e.b, e.loc, best[0], positionOf(slot))};
      })[0];
      // Keys in integer order; free slots below all.
      Value keys = e.loop(e.index(0), extent, init[1], [&](Value slot, ValueRange carried) {
        Value key = e.ordered(evictionKey(e, state, sequence, head, slot, newest, headCap));
        Value isLive = e.cmp(Pred::sge, positionOf(slot), e.i32(0));
        key = e.select(isLive, key, e.i32(std::numeric_limits<int32_t>::min()));
        return SmallVector<Value>{e.insert(key, carried[0], slot)};
      })[0];
      auto keyOf = [&](Value slot) { return e.extract(keys, slot); };
      Value threshold = greatestThreshold(e, extent, keepI32, [&](Value slot, Value t) {
        return e.cmp(Pred::sge, keyOf(slot), t);
      });
      Value above = e.loop(e.index(0), extent, e.i32(0), [&](Value slot, ValueRange total) {
        Value over = e.cmp(Pred::sgt, keyOf(slot), threshold);
        return SmallVector<Value>{e.add(total[0], arith::ExtUIOp::create(e.b, e.loc, i32, over))};
      })[0];
      // Of the ties the oldest stay: -position as the second key.
      auto ageOf = [&](Value slot) { return e.sub(e.i32(0), positionOf(slot)); };
      Value youngest = greatestThreshold(e, extent, e.sub(keepI32, above), [&](Value slot, Value t) {
        return e.both(e.cmp(Pred::eq, keyOf(slot), threshold), e.cmp(Pred::sge, ageOf(slot), t));
      });
      // Insertion by position: slots mostly lie in that order already.
      Value order = e.loop(e.index(0), extent, {init[0], e.index(0)}, [&](Value slot, ValueRange carried) {
        Value key = keyOf(slot), position = positionOf(slot);
        Value stays = e.either(e.cmp(Pred::sgt, key, threshold),
                               e.both(e.cmp(Pred::eq, key, threshold), e.cmp(Pred::sge, ageOf(slot), youngest)));
        return e.ifThen(stays, carried, [&]() -> SmallVector<Value> {
          auto shift = scf::WhileOp::create(
              e.b, e.loc, TypeRange{carried[0].getType(), e.b.getIndexType()}, carried,
              [&](OpBuilder &, Location, ValueRange args) {
                Value inside = e.cmp(Pred::ugt, args[1], e.index(0));
                Value before = e.select(inside, e.sub(args[1], e.index(1)), e.index(0));
                Value left = e.extract(args[0], before);
                Value later = e.cmp(Pred::sgt, positionOf(e.toIndex(left)), position);
                scf::ConditionOp::create(e.b, e.loc, e.both(inside, later), args);
              },
              [&](OpBuilder &, Location, ValueRange args) {
                Value before = e.sub(args[1], e.index(1));
                Value moved = e.insert(e.extract(args[0], before), args[0], args[1]);
                scf::YieldOp::create(e.b, e.loc, ValueRange{moved, before});
              });
          Value placed = e.insert(e.toI32(slot), shift.getResult(0), shift.getResult(1));
          return {placed, e.add(carried[1], e.index(1))};
        });
      })[0];
      return {order, keys};
    });
    Value kept = e.filled({1}, e.select(acts, keepI32, e.i32(-1)));
    OpFoldResult zero = e.b.getIndexAttr(0);
    return {{chosen[0], {head, zero}, {1, cap}}, {kept, {head}, {1}}, {chosen[1], {head, zero}, {1, slots}}};
  });
  k.set(op.getOrder(), results[0]);
  k.set(op.getKept(), results[1]);
  k.set(op.getKeys(), results[2]);
}

SmallVector<StringRef> sparse::lowering::slotFields(kvcache::LayoutAttr layout) {
  SmallVector<StringRef> names;
  if (layout.isQuantized())
    names.append({scaleOfPool("key"), scaleOfPool("value")});
  for (auto field : layout.getFields().getAsRange<kvcache::FieldAttr>())
    if (field.getScope() == kvcache::Scope::Slot)
      names.push_back(field.getName());
  return names;
}

void sparse::lowering::lowerGather(Emitter &e, KernelContext &k, kvcache::GatherOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value order = k[op.getOrder()], kept = k[op.getKept()];
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  int64_t heads = layout.getKvHeads();
  SmallVector<StringRef> fields = slotFields(layout);

  SmallVector<Value> outputs;
  for (Value slots : op.getSlots())
    outputs.push_back(e.empty(tensorType(slots).getShape(), tensorType(slots).getElementType()));
  SmallVector<Value> results = e.parallel({heads}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value head = ivs[0];
    SmallVector<Value> copies;
    for (Value slots : op.getSlots())
      copies.push_back(
          e.empty(tensorType(slots).getShape().drop_front(), tensorType(slots).getElementType()));
    Value count = arith::MaxSIOp::create(e.b, e.loc, e.extract(kept, head), e.i32(0));
    copies = e.loop(e.index(0), e.toIndex(count), copies, [&](Value j, ValueRange carried) {
      SmallVector<Value> next(carried);
      Value slot = e.toIndex(e.extract(order, {head, j}));
      Value page = e.div(slot, layout.getPage()), lane = e.rem(slot, layout.getPage());
      Value physical = e.toIndex(e.extract(state["table"], {sequence, head, page}));
      for (auto [index, pool] : llvm::enumerate(kPools)) {
        RankedTensorType type = tensorType(next[index]);
        // Codes move as they are, or as what they stand for.
        bool asNumbers = type.getElementType() != layout.getElementType();
        Value scale = asNumbers ? slotScale(e, state, pool, sequence, head, slot) : Value();
        next[index] = e.loop(type.getDimSize(1), next[index], [&, pool = StringRef(pool)](Value channel, ValueRange in) {
          Value x = e.extract(state[pool], placeInPool(pool, physical, lane, channel));
          return SmallVector<Value>{e.insert(asNumbers ? numberOf(e, x, scale) : x, in[0], {j, channel})};
        })[0];
      }
      next[2] = e.insert(e.extract(state["position"], {sequence, head, slot}), next[2], j);
      for (auto [index, field] : llvm::enumerate(fields))
        next[3 + index] = e.insert(e.extract(state[field], {sequence, head, slot}), next[3 + index], j);
      return next;
    });
    SmallVector<Emitter::Piece> pieces;
    for (Value copy : copies) {
      Emitter::Piece piece{copy, {head}, {1}};
      for (int64_t size : tensorType(copy).getShape()) {
        piece.offsets.push_back(e.b.getIndexAttr(0));
        piece.sizes.push_back(size);
      }
      pieces.push_back(piece);
    }
    return pieces;
  });
  for (auto [slots, result] : llvm::zip(op.getSlots(), results))
    k.set(slots, result);
}

void sparse::lowering::lowerPlace(Emitter &e, KernelContext &k, kvcache::PlaceOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value kept = k[op.getKept()];
  SmallVector<Value> copies;
  for (Value slots : op.getSlots())
    copies.push_back(k[slots]);
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  SmallVector<StringRef> fields = slotFields(layout);
  size_t n = state.values.size();

  auto placeSlot = [&](Value head, Value j) {
    Value page = e.div(j, layout.getPage()), lane = e.rem(j, layout.getPage());
    Value physical = e.toIndex(e.extract(state["table"], {sequence, head, page}));
    state["position"] = e.insert(e.extract(copies[2], {head, j}), state["position"], {sequence, head, j});
    for (auto [index, field] : llvm::enumerate(fields))
      state[field] = e.insert(e.extract(copies[3 + index], {head, j}), state[field], {sequence, head, j});
    for (auto [copy, pool] : llvm::zip(copies, kPools)) {
      RankedTensorType type = tensorType(copy);
      auto channelOf = [&, copy = Value(copy)](Value channel) { return e.extract(copy, {head, j, channel}); };
      if (type.getElementType() != layout.getElementType()) {
        storeRow(e, state, pool, sequence, head, j, physical, [&](Value, Value channel) { return channelOf(channel); });
        continue;
      }
      state[pool] = e.loop(type.getDimSize(2), state[pool], [&, pool = StringRef(pool)](Value channel, ValueRange in) {
        return SmallVector<Value>{e.insert(channelOf(channel), in[0], placeInPool(pool, physical, lane, channel))};
      })[0];
    }
    updateContent(e, state, sequence, head, j, physical, e.cmp(Pred::eq, lane, e.index(0)));
  };
  auto take = [&](ValueRange carried) { state.values.assign(carried.begin(), carried.begin() + n); };

  SmallVector<Value> done = e.loop(layout.getKvHeads(), state.values, [&](Value head, ValueRange carried) {
    take(carried);
    Value keptHere = e.extract(kept, head);
    SmallVector<Value> before(state.values);
    return e.ifThen(e.cmp(Pred::sge, keptHere, e.i32(0)), before, [&]() -> SmallVector<Value> {
      Value extent = e.toIndex(e.extract(state["count"], {sequence, head})), keep = e.toIndex(keptHere);
      SmallVector<Value> placed = e.loop(e.index(0), keep, state.values, [&](Value j, ValueRange inner) {
        take(inner);
        placeSlot(head, j);
        return state.values;
      });
      take(placed);
      state["position"] = e.loop(keep, extent, state["position"], [&](Value slot, ValueRange in) {
        return SmallVector<Value>{e.insert(e.i32(-1), in[0], {sequence, head, slot})};
      })[0];
      state["count"] = e.insert(keptHere, state["count"], {sequence, head});
      state["victim"] = e.insert(e.i32(-1), state["victim"], {sequence, head});
      // Slots lie by position now: the newest is the last.
      state["tail"] = e.insert(e.sub(keptHere, e.i32(1)), state["tail"], {sequence, head});
      return state.values;
    });
  });
  take(done);
  k.set(op.getResult(), state);
}
