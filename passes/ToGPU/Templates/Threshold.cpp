//===-- Threshold.cpp - The key from which on a block's keys are kept ---------------------------------------------===//
#include "passes/ToGPU/Templates/Threshold.h"

#include <limits>

using namespace sparse::device;
using arith::CmpIPredicate;

Value sparse::device::orderedKey(Device &d, Value score) {
  Value bits = arith::BitcastOp::create(d.b, d.loc, d.b.getI32Type(), score);
  Value negative = d.lt(bits, d.i32(0));
  return d.bitXor(bits, d.select(negative, d.i32(-1), d.i32(std::numeric_limits<int32_t>::min())));
}

Value sparse::device::scoreOfKey(Device &d, Value key) {
  Value positive = d.lt(key, d.i32(0)); // the top bit is set
  Value bits = d.bitXor(key, d.select(positive, d.i32(std::numeric_limits<int32_t>::min()), d.i32(-1)));
  return arith::BitcastOp::create(d.b, d.loc, d.b.getF32Type(), bits);
}

static Value minU(Device &d, Value a, Value c) { return arith::MinUIOp::create(d.b, d.loc, a, c); }
static Value maxU(Device &d, Value a, Value c) { return arith::MaxUIOp::create(d.b, d.loc, a, c); }
static Value shift(Device &d, Value a, Value by) { return arith::ShRUIOp::create(d.b, d.loc, a, by); }

Threshold::Threshold(Device &d, int64_t threads) : d(d), threads(threads) {
  Type i32 = d.b.getI32Type();
  histogram = d.shared(i32, placeOfBin(kBins), "histogram");
  candidates = d.shared(i32, kMostCandidates, "candidates");
  counter = d.shared(i32, 1, "counter");
  extremes = d.shared(i32, 2 * threads / kWarp, "extremes");
}

/// Four words of padding after the bins of each lane: its loads meet no other lane's bank.
Value Threshold::placeOfBin(Value bin) const { return d.add(bin, d.shl(d.shrU(bin, kLaneBits), 2)); }

void Threshold::prepare() {
  Value zeros = d.zero(VectorType::get({4}, d.b.getI32Type()));
  d.loop(d.threadId(), d.i32(placeOfBin(kBins) / 4), d.i32(threads),
         [&](Value i) { d.store(zeros, histogram, d.mul(i, d.i32(4))); });
  d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] { d.store(d.i32(0), counter, d.i32(0)); });
}

/// From the highest bin down: { all keys of the histogram, the bin at which `need` keys are reached, keys above it, its
/// own }.
SmallVector<Value> Threshold::findBin(Value need) {
  constexpr int64_t kOfLane = 1 << kLaneBits;
  Value lane = d.lane(), lowest = d.sub(d.i32(kBins - kOfLane), d.mul(lane, d.i32(kOfLane)));
  Value place = placeOfBin(lowest);
  SmallVector<Value> counts;
  for (int64_t i = 0; i < kOfLane; i += 4) {
    Value four = d.load(histogram, d.add(place, d.i32(i)), 4);
    for (int64_t j = 0; j < 4; ++j)
      counts.push_back(d.element(four, j));
  }
  Value sum = counts[0];
  for (Value count : ArrayRef(counts).drop_front())
    sum = d.add(sum, count);
  Value upTo = d.warpScan(sum), total = d.shuffle(upTo, d.i32(kWarp - 1));
  // The first lane that reaches `need` looks at its bins from the highest down.
  Value reached = d.ballot(d.ge(upTo, need));
  Value source = d.minS(d.sub(d.i32(31), d.clz(d.bitAnd(reached, d.sub(d.i32(0), reached)))), d.i32(kWarp - 1));
  source = d.maxS(source, d.i32(0));
  Value above = d.sub(upTo, sum), bin = d.i32(0), own = d.i32(0), before = above;
  for (int64_t i = kOfLane - 1; i >= 0; --i) {
    Value after = d.add(above, counts[i]);
    Value isHere = d.bitAnd(d.lt(above, need), d.ge(after, need));
    bin = d.select(isHere, d.add(lowest, d.i32(i)), bin);
    own = d.select(isHere, counts[i], own);
    before = d.select(isHere, above, before);
    above = after;
  }
  return {total, d.shuffle(bin, source), d.shuffle(before, source), d.shuffle(own, source)};
}

/// The `need`-th greatest of `count` candidates; `ties` becomes how many of its equals are needed.
Value Threshold::rankCandidates(Value count, Value need, Value &ties) {
  SmallVector<Value> own, isOwn;
  for (int64_t i = 0; i < kMostCandidates; i += kWarp) {
    Value at = d.add(d.lane(), d.i32(i));
    isOwn.push_back(d.lt(at, count));
    own.push_back(d.select(isOwn.back(), d.load(candidates, at), d.i32(0)));
  }
  SmallVector<Value> zeros(2 * own.size(), d.i32(0)); // keys greater, keys greater or equal
  SmallVector<Value> ranks = d.loop(d.i32(0), count, d.i32(1), zeros, [&](Value i, ValueRange carried) {
    Value other = d.load(candidates, i);
    SmallVector<Value> next;
    for (auto [index, key] : llvm::enumerate(own)) {
      for (auto [offset, predicate] : {std::pair{0, CmpIPredicate::ugt}, std::pair{1, CmpIPredicate::uge}}) {
        Value more = arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), d.cmp(predicate, other, key));
        next.push_back(d.add(carried[2 * index + offset], more));
      }
    }
    return next;
  });
  Value key = d.i32(0), greater = d.i32(0);
  for (auto [index, value] : llvm::enumerate(own)) {
    Value isIt = d.bitAnd(isOwn[index], d.bitAnd(d.lt(ranks[2 * index], need), d.ge(ranks[2 * index + 1], need)));
    key = d.select(isIt, value, key);
    greater = d.select(isIt, ranks[2 * index], greater);
  }
  // Keys that take part are no 0, so the greatest is the one found; its equals agree about `greater`.
  key = d.warpExtreme(key, Device::Extreme::GreatestUnsigned);
  ties = d.sub(need, d.warpExtreme(greater, Device::Extreme::GreatestUnsigned));
  return key;
}

Threshold::Result Threshold::find(ArrayRef<Value> keys, Value need) {
  int64_t warps = threads / kWarp;
  // One less makes no key the greatest, one more makes a forced one the least.
  Value least = d.i32(-1), greatest = d.i32(0), one = d.i32(1);
  for (Value key : keys) {
    least = minU(d, least, d.sub(key, one));
    greatest = maxU(d, greatest, d.add(key, one));
  }
  least = d.warpExtreme(least, Device::Extreme::LeastUnsigned);
  greatest = d.warpExtreme(greatest, Device::Extreme::GreatestUnsigned);
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] {
    d.store(least, extremes, d.mul(d.warp(), d.i32(2)));
    d.store(greatest, extremes, d.add(d.mul(d.warp(), d.i32(2)), d.i32(1)));
  });
  d.barrier();
  for (int64_t w = 0; w < warps; ++w) {
    Value pair = d.load(extremes, d.i32(2 * w), 2);
    least = minU(d, least, d.element(pair, 0));
    greatest = maxU(d, greatest, d.element(pair, 1));
  }
  least = d.add(least, one);
  greatest = d.sub(greatest, one);
  Value low = scoreOfKey(d, least), high = scoreOfKey(d, greatest);
  Value middle = maxU(d, least, orderedKey(d, d.fma(d.f32(0.5), d.subF(high, low), low)));
  // Infinities give anything.
  Value first = d.select(d.cmp(CmpIPredicate::ugt, middle, greatest), least, middle);

  // Carried: the range [from, to], and how many of its greatest keys are needed. After the last time the range is that of
  // one bin, with its keys.
  Value none = d.i32(0);
  SmallVector<Value> found = d.repeatWhile({first, greatest, need, none}, [&](ValueRange carried) -> SmallVector<Value> {
    Value from = carried[0], to = carried[1], wanted = carried[2];
    Value bits = d.sub(d.i32(32), d.clz(d.sub(to, from))); // of the width of the range
    Value by = d.maxS(d.sub(bits, d.i32(kBinBits)), d.i32(0));
    Value width = d.sub(to, from);
    for (Value key : keys) {
      Value distance = d.sub(key, from);
      d.ifThen(d.cmp(CmpIPredicate::ule, distance, width),
               [&] { d.atomicAdd(one, histogram, placeOfBin(shift(d, distance, by))); });
    }
    d.barrier();
    SmallVector<Value> bin = findBin(wanted);
    Value tooFew = d.lt(bin[0], wanted);
    Value binFrom = d.add(from, arith::ShLIOp::create(d.b, d.loc, bin[1], by));
    Value binTo = d.add(binFrom, d.sub(arith::ShLIOp::create(d.b, d.loc, d.i32(1), by), d.i32(1)));
    binTo = d.select(d.cmp(CmpIPredicate::ult, binTo, binFrom), to, binTo); // past the greatest integer
    // Too few: all of the range are kept, and the rest of them is below it.
    Value nextFrom = d.select(tooFew, least, binFrom);
    Value nextTo = d.select(tooFew, d.sub(from, d.i32(1)), minU(d, binTo, to));
    Value next = d.sub(wanted, d.select(tooFew, bin[0], bin[2]));
    Value isMany = d.bitAnd(d.lt(d.i32(kMostCandidates), bin[3]), d.lt(none, by));
    Value again = d.bitOr(tooFew, isMany);
    d.ifThen(again, [&] {
      d.barrier();
      prepare();
      d.barrier();
    });
    return {again, nextFrom, nextTo, next, bin[3]};
  });
  Value from = found[0], to = found[1], wanted = found[2], count = found[3];
  // More equal keys than candidates: the bin has one key only.
  Value isOneKey = d.lt(d.i32(kMostCandidates), count);
  Value collects = d.bitAnd(d.lt(none, count), d.bitXor(isOneKey, d.boolean(true)));
  Value width = d.sub(to, from);
  d.ifThen(collects, [&] {
    auto isIn = [&](Value key) { return d.cmp(CmpIPredicate::ule, d.sub(key, from), width); };
    Value own = none;
    for (Value key : keys)
      own = d.add(own, arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), isIn(key)));
    d.ifThen(d.lt(none, own), [&] {
      Value place = d.atomicAdd(own, counter, none);
      for (Value key : keys) {
        d.ifThen(isIn(key), [&] { d.store(key, candidates, place); });
        place = d.add(place, arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), isIn(key)));
      }
    });
  });
  d.barrier();
  Value ties;
  Value key = rankCandidates(d.select(isOneKey, none, count), wanted, ties);
  key = d.select(isOneKey, from, key);
  ties = d.select(isOneKey, wanted, ties);
  Value isNone = d.cmp(CmpIPredicate::sle, need, none);
  return {d.select(isNone, d.i32(kForcedKey - 1), key), d.select(isNone, none, ties)};
}
