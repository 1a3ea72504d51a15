//===-- MatchFollowing.cpp - The slots that follow the victim of a decode step ------------------------------------===//
//
// The meaning is that of the linalg lowering (passes/ToLinalg/Merge.cpp). A block for each KV head of a row finds the
// m-th least of the later positions by histograms, and sorts those up to it.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Match.h"
#include "passes/ToLinalg/Merge.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfHead = 16, kThreadsOfHead = kWarpsOfHead * kWarp;

namespace {
/// Counts of the digits of later positions; every warp reads them for itself.
struct DigitCounts {
  static constexpr int64_t kBits = 9, kBins = 1 << kBits, kBinsOfLane = kBins / kWarp;

  Device &d;
  Span bins;

  DigitCounts(Device &d) : d(d), bins(d.shared(d.b.getI32Type(), kBins, "digits")) {}
  void clear() {
    d.loop(d.threadId(), d.i32(kBins), d.i32(kThreadsOfHead), [&](Value bin) { d.store(d.i32(0), bins, bin); });
  }
  void count(Value digit) { d.atomicAdd(d.i32(1), bins, digit); }
  /// The digit in which the `wanted`-th least lies, and how many are below it; 2^kBits, and all, when there are fewer.
  std::pair<Value, Value> find(Value wanted);
};
} // namespace

/// The first lane whose running sum reaches `wanted`, kWarp for none, and the sum before it.
static std::pair<Value, Value> firstLane(Device &d, Value own, Value wanted) {
  Value upTo = d.warpScan(own);
  Value reached = d.ballot(d.ge(upTo, wanted)), none = d.eq(reached, d.i32(0));
  // The lowest bit alone, and its place.
  Value lowest = d.bitAnd(reached, d.sub(d.i32(0), reached)), lane = d.sub(d.i32(kWarp - 1), d.clz(lowest));
  Value all = d.shuffle(upTo, d.i32(kWarp - 1)), before = d.shuffle(d.sub(upTo, own), d.select(none, d.i32(0), lane));
  return {d.select(none, d.i32(kWarp), lane), d.select(none, all, before)};
}

std::pair<Value, Value> DigitCounts::find(Value wanted) {
  Value first = d.mul(d.lane(), d.i32(kBinsOfLane)), own = d.i32(0);
  for (int64_t i = 0; i < kBinsOfLane; i += 4) {
    Value four = d.load(bins, d.add(first, d.i32(i)), 4);
    for (int64_t j = 0; j < 4; ++j)
      own = d.add(own, d.element(four, j));
  }
  auto [lane, before] = firstLane(d, own, wanted);
  Value there = d.lt(lane, d.i32(kWarp)), firstBin = d.mul(d.minS(lane, d.i32(kWarp - 1)), d.i32(kBinsOfLane));
  Value inside = d.lt(d.lane(), d.i32(kBinsOfLane));
  Value bin = d.load(bins, d.add(firstBin, d.select(inside, d.lane(), d.i32(0))));
  auto [place, more] = firstLane(d, d.select(inside, bin, d.i32(0)), d.sub(wanted, before));
  return {d.select(there, d.add(firstBin, place), d.i32(kBins)), d.select(there, d.add(before, more), before)};
}

/// The distance (positions after the victim's, from 0 on) of the `most`-th follower, or a larger one than any when
/// there are fewer.
static Value lastDistance(HeadMatch &h, DigitCounts &counts, int64_t most) {
  Device &d = h.d;
  Value tail = d.maxS(h.k.load(h.merge.layer["tail"], {h.merge.sequence, h.head}), d.i32(0));
  Value furthest = d.maxS(d.sub(h.positionOf(tail), h.position), d.i32(1));
  // Digits from the top of the largest distance on.
  Value bits = d.sub(d.i32(32), d.clz(furthest)), top = d.maxS(d.sub(bits, d.i32(DigitCounts::kBits)), d.i32(0));
  auto shifted = [&](Value a, Value by) -> Value { return arith::ShRUIOp::create(d.b, d.loc, a, by); };
  SmallVector<Value> init{d.i32(0), top, d.i32(most), d.i32(std::numeric_limits<int32_t>::max())};
  return d.repeatWhile(init, [&](ValueRange in) -> SmallVector<Value> {
    Value base = in[0], shift = in[1], wanted = in[2]; // the distances looked at are at least base
    d.barrier();
    counts.clear();
    d.barrier();
    d.loop(d.threadId(), h.extent, d.i32(kThreadsOfHead), [&](Value slot) {
      Value own = h.positionOf(slot);
      Value digit = shifted(d.sub(d.sub(own, h.position), d.add(base, d.i32(1))), shift);
      Value counted = d.bitAnd(d.lt(d.add(h.position, base), own), d.lt(digit, d.i32(DigitCounts::kBins)));
      d.ifThen(counted, [&] { counts.count(digit); });
    });
    d.barrier();
    auto [digit, before] = counts.find(wanted);
    Value found = d.lt(digit, d.i32(DigitCounts::kBins)), more = d.bitAnd(found, d.lt(d.i32(0), shift));
    Value start = d.add(base, arith::ShLIOp::create(d.b, d.loc, digit, shift));
    Value next = d.maxS(d.sub(shift, d.i32(DigitCounts::kBits)), d.i32(0));
    return {more, d.select(more, start, base), d.select(more, next, shift),
            d.select(more, d.sub(wanted, before), wanted), d.select(found, start, in[3])};
  })[3];
}

namespace {
/// The followers that were found, in any order, and their fields, in the order of the followers.
struct FollowerList {
  DigitCounts counts;
  SmallVector<StringRef> fields;
  Span positions, slots, listed;
  SmallVector<Span> values;

  /// Outside control flow.
  FollowerList(Device &d, sparsity::MergePolicyInterface policy, int64_t most)
      : counts(d), fields(policy.getSlotFields()), positions(d.shared(d.b.getI32Type(), most, "positions")),
        slots(d.shared(d.b.getI32Type(), most, "slots")), listed(d.shared(d.b.getI32Type(), 1, "listed")) {
    for (StringRef field : fields)
      values.push_back(d.shared(d.b.getF32Type(), most, field));
  }
};
} // namespace

static void matchFollowing(HeadMatch &h, FollowerList &found) {
  Device &d = h.d;
  DeviceKernel &k = h.k;
  int64_t most = k.results[0].size(2);
  Span positions = found.positions, slots = found.slots, listed = found.listed;
  d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] { d.store(d.i32(0), listed, d.i32(0)); });
  Value last = lastDistance(h, found.counts, most);
  d.loop(d.threadId(), h.extent, d.i32(kThreadsOfHead), [&](Value slot) {
    Value own = h.positionOf(slot), distance = d.sub(d.sub(own, h.position), d.i32(1));
    d.ifThen(d.bitAnd(d.lt(h.position, own), d.ge(last, distance)), [&] {
      Value place = d.atomicAdd(d.i32(1), listed, d.i32(0));
      d.store(own, positions, place);
      d.store(slot, slots, place);
    });
  });
  d.barrier();
  Value count = d.load(listed, d.i32(0));
  d.loop(d.threadId(), d.i32(most), d.i32(kThreadsOfHead), [&](Value i) {
    d.ifThenElse(
        d.lt(i, count),
        [&]() -> SmallVector<Value> {
          Value own = d.load(positions, i), slot = d.load(slots, i);
          Value rank = d.loop(d.i32(0), count, d.i32(1), d.i32(0), [&](Value j, ValueRange carried) {
            Value before = arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), d.lt(d.load(positions, j), own));
            return SmallVector<Value>{d.add(carried[0], before)};
          })[0];
          h.putTarget(slot, rank);
          for (auto [field, span] : llvm::zip(found.fields, found.values))
            d.store(k.load(h.merge.layer[field], {h.merge.sequence, h.head, slot}), span, rank);
          return {};
        },
        [&]() -> SmallVector<Value> {
          h.putTarget(d.i32(-1), i);
          return {};
        });
  });
  d.barrier();
  d.ifThen(d.eq(d.warp(), d.i32(0)), [&] {
    lowering::Emitter e(d.b, d.loc);
    Value number = lowering::merging::toFloat(e, count);
    Value victim = k.load(h.merge.layer["victim"], {h.merge.sequence, h.head});
    SmallVector<Value> own, means;
    for (auto [field, span] : llvm::zip(found.fields, found.values)) {
      Value part = d.loop(d.lane(), count, d.i32(kWarp), d.f32(0), [&, span = span](Value i, ValueRange carried) {
        return SmallVector<Value>{d.addF(carried[0], d.load(span, i))};
      })[0];
      own.push_back(k.load(h.merge.layer[field], {h.merge.sequence, h.head, victim}));
      means.push_back(d.divF(d.warpSum(part), number));
    }
    Value draw = h.merge.draw(h.op.getLayer(), h.position);
    Value share = h.merge.policy.buildShare(d.b, d.loc, own, means, {}, draw);
    d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { h.putShare(share); });
  });
}

void sparse::device::emitFollowing(DeviceKernel &k) {
  Device &d = k.d;
  k.grid = {1, k.results[0].size(1), k.results[0].size(0)};
  k.block = {kThreadsOfHead, 1, 1};
  HeadMatch h(k);
  FollowerList found(d, h.merge.policy, k.results[0].size(2));
  h.whereEvicted([&] { matchFollowing(h, found); });
}
