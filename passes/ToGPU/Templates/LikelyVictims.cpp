//===-- LikelyVictims.cpp - The nearest keys of likely victims, found while attention reads the keys --------------===//
#include "passes/ToGPU/Templates/LikelyVictims.h"
#include "passes/ToGPU/OneLaunch.h"
#include "passes/ToGPU/Templates/AttendMma.h"
#include "passes/ToGPU/Templates/RowSquares.h"

using namespace sparse;
using namespace sparse::device;

/// Channels that the loads of four lanes cover at once.
static constexpr int64_t kRowChannels = 4 * kLoadChannels;

std::string sparse::device::whyNotNearest(kvcache::LayoutAttr layout, int64_t groups) {
  if (std::string reason = whyNotMma(layout); !reason.empty())
    return reason;
  int64_t likely = layout.getLikely();
  if (likely == 0)
    return "no list of likely victims is kept";
  if (groups + likely > kProductHeads)
    return "the query heads leave no rows of a product to " + std::to_string(likely) + " likely victims";
  if (layout.isQuantized())
    return "pages hold codes";
  if (layout.getKeyDim() % kRowChannels != 0)
    return "a key dimension of " + std::to_string(layout.getKeyDim()) + " is no multiple of " +
           std::to_string(kRowChannels);
  return "";
}

LikelyVictims::LikelyVictims(DeviceKernel &k, sparsity::NearestPartOp op, PageList &list, int64_t heads, int64_t warps,
                             size_t firstResult)
    : k(k), d(k.d), list(list), heads(heads), count(cast<RankedTensorType>(op.getProbed().getType()).getDimSize(2)),
      warps(warps), firstResult(firstResult), element(list.layer.layout.getElementType()), group(d.divU(d.lane(), 4)),
      quad(d.remU(d.lane(), 4)), ofWarps(d, warps * count, "nearest") {}

void LikelyVictims::join(QueryFragments &queries) {
  kvcache::LayoutAttr layout = list.layer.layout;
  Value index = d.sub(group, d.i32(heads)), isOne = d.bitAnd(d.ge(index, d.i32(0)), d.lt(index, d.i32(count)));
  Value named = k.load(list.layer[kvcache::kLikelyField],
                       {list.sequence, list.kvHead, d.select(isOne, index, d.i32(0))});
  Value inUse = k.load(list.layer["count"], {list.sequence, list.kvHead});
  Value inside = d.bitAnd(isOne, d.bitAnd(d.ge(named, d.i32(0)), d.lt(named, inUse)));
  // An empty head has no page to read from, nor has a block of it anything to do.
  Value slot = d.select(inside, named, d.i32(0)), page = d.divU(slot, layout.getPage());
  Value lane = d.remU(slot, layout.getPage());
  Value live = d.bitAnd(inside, d.ge(list.keyPosition(page, lane), d.i32(0)));
  wanted = d.select(live, slot, d.i32(-1));

  Buffer &keys = list.layer["key"];
  Span row = d.at(keys.span, k.offsetOf(keys, {list.physical(page), d.i32(0), lane}));
  Value squares = d.zero(VectorType::get({kLoadChannels}, d.b.getF32Type()));
  for (size_t j = 0; j < queries.high.size() / 4; ++j) {
    Value channel = d.mul(d.add(quad, d.i32(4 * j)), d.i32(kLoadChannels));
    Value key = d.load(row, channel, kLoadChannels);
    Value numbers = d.toF32(key);
    squares = d.fma(numbers, numbers, squares);
    Value words = d.bitcast(key, VectorType::get({4}, d.b.getI32Type()));
    for (int64_t i = 0; i < 4; ++i)
      queries.high[4 * j + i] = d.select(live, d.element(words, i), queries.high[4 * j + i]);
  }
  inverse = inverseLength(d, d.warpSum(d.sumOf(squares), 4));
}

BestSlot LikelyVictims::compare(ValueRange keys, ValueRange dots, ValueRange slots, ValueRange positions,
                                BestSlot best) const {
  size_t half = keys.size() / 2;
  RowSquares squares(d, keys.take_front(half), keys.drop_front(half), element);
  for (size_t i = 0; i < slots.size(); ++i) {
    // As lanes hold them: slots 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of the tile.
    Value row = d.add(d.mul(quad, d.i32(2)), d.i32(i % 2));
    Value cosine = d.mulF(d.mulF(dots[i], inverse), inverseLength(d, squares.of(row, /*upper=*/i >= 2)));
    Value counts = d.bitAnd(d.ge(wanted, d.i32(0)), d.ge(positions[i], d.i32(0)));
    counts = d.bitAnd(counts, d.cmp(arith::CmpIPredicate::ne, slots[i], wanted));
    best = best.orBetter(d, BestSlot{d.subF(d.f32(0), cosine), positions[i], slots[i]}.onlyIf(d, counts));
  }
  return best;
}

void LikelyVictims::leave(const BestSlot &best) {
  BestSlot ofRow = best.ofLanes(d, 4);
  Value index = d.sub(group, d.i32(heads));
  Value isOwner = d.bitAnd(d.eq(quad, d.i32(0)), d.bitAnd(d.ge(index, d.i32(0)), d.lt(index, d.i32(count))));
  d.ifThen(isOwner, [&] {
    ofWarps.put(ofRow, d.add(d.mul(d.warp(), d.i32(count)), index));
    Value isFirst = d.bitAnd(d.eq(d.warp(), d.i32(0)), d.eq(d.blockId(0), d.i32(0)));
    d.ifThen(isFirst, [&] { k.store(wanted, k.results[firstResult], {list.row, list.head, index}); });
  });
}

void LikelyVictims::put(const BestSlot &best, Value segment, Value victim) {
  SmallVector<Value> at{list.row, list.head, segment, victim};
  k.store(d.subF(d.f32(0), best.key), k.results[firstResult + 1], at);
  k.store(best.position, k.results[firstResult + 2], at);
  k.store(best.slot, k.results[firstResult + 3], at);
}

void LikelyVictims::store(Value segment) {
  d.ifThen(d.lt(d.threadId(), d.i32(count)), [&] {
    BestSlot best = BestSlot::none(d);
    for (int64_t w = 0; w < warps; ++w)
      best = best.orBetter(d, ofWarps.at(d.add(d.threadId(), d.i32(w * count))));
    put(best, segment, d.threadId());
  });
}

void LikelyVictims::storeNone(Value segment) {
  d.ifThen(d.lt(d.threadId(), d.i32(count)), [&] { put(BestSlot::none(d), segment, d.threadId()); });
}
