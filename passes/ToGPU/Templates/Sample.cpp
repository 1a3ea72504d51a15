//===-- Sample.cpp - The next token of a row, a block for each row ------------------------------------------------===//
//
// Each warp has a run of the vocabulary of its own, so that sums by index are sums by warp first. Masses are integers: no
// order of additions matters, and the token is that of the reference lowering.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/SampleMass.h"

using namespace sparse;
using namespace sparse::device;
using arith::CmpIPredicate;

static constexpr int64_t kMostThreads = 1024, kDigitBits = 8, kBins = 1 << kDigitBits;
/// Of the mass of one token (SampleMass.h).
static constexpr int64_t kMassBits = 41;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto sample = cast<sparsity::SampleOp>(headOf(kernel));
  if (cast<RankedTensorType>(sample.getLogits().getType()).getDimSize(1) >= (int64_t(1) << 30))
    return "the vocabulary is too large for 32-bit indices";
  return "";
}

namespace {

/// A block that works on one row. All values but those of a lane are the same in all threads.
class SampleBlock {
public:
  SampleBlock(DeviceKernel &k, sparsity::SampleOp op);

  LogicalResult emit();

private:
  using Weight = function_ref<Value(Value logit)>;
  using Element = function_ref<SmallVector<Value>(Value token, Value logit, ValueRange carried)>;

  SmallVector<Value> eachOwn(ValueRange init, Element element);
  Value sumOfBlock(Value own);
  SmallVector<Value> findBest();
  SmallVector<Value> threshold(Value need, int64_t bits, Weight weight);
  SmallVector<Value> nextDigit(int64_t shift, Value prefix, Value need, int64_t bits, Weight weight);
  /// Shared memory adds up words of 32 bits at once but those of 64 by retries, which many tokens of one bin make slow: a
  /// weight goes in as words of so few bits that no sum of all tokens' overflows.
  int64_t wordBits() const { return 32 - llvm::Log2_64_Ceil(vocab + 1); }
  int64_t words(int64_t bits) const { return llvm::divideCeil(bits, wordBits()); }
  Value draw();
  void findToken(Value key, Value ties, Value point);
  void finish(Value token, Value hasToken);

  // 64 bits across a warp.
  Value both(function_ref<Value(Value half)> move, Value value);
  Value scan(Value value);

  Value i64(int64_t v) { return d.i64(v); }
  Value wide(Value v) { return arith::ExtUIOp::create(d.b, d.loc, d.b.getI64Type(), v); }
  Value cmp(CmpIPredicate p, Value a, Value c) { return d.cmp(p, a, c); }
  Value massAt(Value key) { return mass.massOf(mass.logitOf(key), best, scale); }

  DeviceKernel &k;
  Device &d;
  sparsity::SampleOp op;
  lowering::SampleMass mass;
  Buffer &logits;
  int64_t vocab, width, chunks, warps, chunksOfWarp;
  Value row, first, last; // the row, and the chunks of this warp
  Value best, scale;
  Span sums, numbers, histogram, found;
};

} // namespace

SampleBlock::SampleBlock(DeviceKernel &k, sparsity::SampleOp op)
    : k(k), d(k.d), op(op), mass(k.d.b, k.d.loc), logits(k.buffer(op.getLogits())), vocab(logits.size(1)),
      width(vocab % 4 == 0 ? 4 : 1), chunks(vocab / width),
      warps(std::min<int64_t>(kMostThreads / kWarp, llvm::divideCeil(chunks, kWarp))),
      chunksOfWarp(llvm::divideCeil(chunks, warps)) {
  k.grid = {logits.size(0), 1, 1};
  k.block = {warps * kWarp, 1, 1};
  Type i32 = d.b.getI32Type(), i64 = d.b.getI64Type();
  row = d.blockId(0);
  first = d.minS(d.mul(d.warp(), d.i32(chunksOfWarp)), d.i32(chunks));
  last = d.minS(d.add(first, d.i32(chunksOfWarp)), d.i32(chunks));
  sums = d.shared(i64, kWarp, "sums");
  numbers = d.shared(i32, 3 * kWarp, "numbers");
  histogram = d.shared(i32, words(kMassBits) * kBins, "histogram"); // [word][bin]
  found = d.shared(i64, 2, "found");
}

Value SampleBlock::both(function_ref<Value(Value half)> move, Value value) {
  Type i32 = d.b.getI32Type();
  Value low = arith::TruncIOp::create(d.b, d.loc, i32, value);
  Value high = arith::TruncIOp::create(d.b, d.loc, i32, arith::ShRUIOp::create(d.b, d.loc, value, i64(32)));
  Value moved = arith::ShLIOp::create(d.b, d.loc, wide(move(high)), i64(32));
  return d.bitOr(moved, wide(move(low)));
}

/// Sum over this lane and the lanes below.
Value SampleBlock::scan(Value value) {
  Value lane = d.lane();
  for (int64_t distance = 1; distance < kWarp; distance *= 2) {
    Value from = both([&](Value half) { return d.shuffleUp(half, distance); }, value);
    value = d.add(value, d.select(d.ge(lane, d.i32(distance)), from, i64(0)));
  }
  return value;
}

/// Runs over the tokens that a lane has of its warp's run.
SmallVector<Value> SampleBlock::eachOwn(ValueRange init, Element element) {
  return d.loop(d.add(first, d.lane()), last, d.i32(kWarp), init, [&](Value chunk, ValueRange carried) {
    Value token = d.mul(chunk, d.i32(width)), loaded = k.load(logits, {row, token}, width);
    SmallVector<Value> state(carried);
    for (int64_t i = 0; i < width; ++i)
      state = element(d.add(token, d.i32(i)), width == 1 ? loaded : d.element(loaded, i), state);
    return state;
  });
}

/// Every thread gets it. Contains barriers; what was read of `sums` before must have been.
Value SampleBlock::sumOfBlock(Value own) {
  Value upTo = scan(own);
  d.barrier();
  d.ifThen(d.eq(d.lane(), d.i32(kWarp - 1)), [&] { d.store(upTo, sums, d.warp()); });
  d.barrier();
  Value total = i64(0);
  for (int64_t w = 0; w < warps; ++w)
    total = d.add(total, d.load(sums, d.i32(w)));
  return total;
}

/// { the greatest key, the first token that has it, 1 where a logit is no number }.
SmallVector<Value> SampleBlock::findBest() {
  using Extreme = Device::Extreme;
  SmallVector<Value> own = eachOwn({d.i32(0), d.i32(0), d.i32(0)}, [&](Value token, Value logit, ValueRange carried) {
    Value key = mass.keyOf(logit), better = cmp(CmpIPredicate::ugt, key, carried[0]);
    Value isNone = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::UNO, logit, logit);
    return SmallVector<Value>{d.select(better, key, carried[0]), d.select(better, token, carried[1]),
                              d.select(isNone, d.i32(1), carried[2])};
  });
  auto reduce = [&](Value key, Value token, Value isNone) -> SmallVector<Value> {
    Value most = d.warpExtreme(key, Extreme::GreatestUnsigned);
    Value lowest = d.warpExtreme(d.select(d.eq(key, most), token, d.i32(-1)), Extreme::LeastUnsigned);
    return {most, lowest, d.warpExtreme(isNone, Extreme::GreatestUnsigned)};
  };
  own = reduce(own[0], own[1], own[2]);
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] {
    for (int64_t i = 0; i < 3; ++i)
      d.store(own[i], numbers, d.add(d.warp(), d.i32(i * kWarp)));
  });
  d.barrier();
  // Lanes without a warp repeat the last one's.
  Value source = d.minS(d.lane(), d.i32(warps - 1));
  SmallVector<Value> all;
  for (int64_t i = 0; i < 3; ++i)
    all.push_back(d.load(numbers, d.add(source, d.i32(i * kWarp))));
  return reduce(all[0], all[1], all[2]);
}

/// { digits of the threshold so far, what is missing at them } after one more digit.
SmallVector<Value> SampleBlock::nextDigit(int64_t shift, Value prefix, Value need, int64_t bits, Weight weight) {
  Value thread = d.threadId();
  int64_t upper = shift + kDigitBits, words = this->words(bits);
  d.loop(thread, d.i32(words * kBins), d.i32(warps * kWarp), [&](Value bin) { d.store(d.i32(0), histogram, bin); });
  d.barrier();
  eachOwn({}, [&](Value, Value logit, ValueRange) -> SmallVector<Value> {
    Value key = mass.keyOf(logit), added = weight(logit);
    Value takesPart = cmp(CmpIPredicate::ne, added, i64(0));
    if (upper < 32)
      takesPart = d.bitAnd(takesPart, d.eq(d.shrU(key, upper), d.shrU(prefix, upper)));
    Value bin = d.bitAnd(d.shrU(key, shift), d.i32(kBins - 1));
    d.ifThen(takesPart, [&] {
      for (int64_t w = 0; w < words; ++w) {
        Value word = arith::ShRUIOp::create(d.b, d.loc, added, i64(w * wordBits()));
        word = arith::TruncIOp::create(d.b, d.loc, d.b.getI32Type(), word);
        d.atomicAdd(d.bitAnd(word, d.i32((int64_t(1) << wordBits()) - 1)), histogram, d.add(bin, d.i32(w * kBins)));
      }
    });
    return {};
  });
  d.barrier();
  // The first warp looks from the highest digit down for the one at which `need` is reached.
  d.ifThen(d.lt(thread, d.i32(kWarp)), [&] {
    constexpr int64_t kOfLane = kBins / kWarp;
    Value highest = d.sub(d.i32(kBins - 1), d.mul(thread, d.i32(kOfLane)));
    SmallVector<Value> bins;
    Value sum = i64(0);
    for (int64_t i = 0; i < kOfLane; ++i) {
      Value bin = i64(0);
      for (int64_t w = 0; w < words; ++w) {
        Value word = wide(d.load(histogram, d.add(d.sub(highest, d.i32(i)), d.i32(w * kBins))));
        bin = d.add(bin, arith::ShLIOp::create(d.b, d.loc, word, i64(w * wordBits())));
      }
      bins.push_back(bin);
      sum = d.add(sum, bins[i]);
    }
    Value above = d.sub(scan(sum), sum);
    for (int64_t i = 0; i < kOfLane; ++i) {
      Value upTo = d.add(above, bins[i]);
      Value isHere = d.bitAnd(cmp(CmpIPredicate::ult, above, need), cmp(CmpIPredicate::uge, upTo, need));
      d.ifThen(isHere, [&] {
        d.store(wide(d.bitOr(prefix, d.shl(d.sub(highest, d.i32(i)), shift))), found, d.i32(0));
        d.store(d.sub(need, above), found, d.i32(1));
      });
      above = upTo;
    }
  });
  d.barrier();
  Value digits = arith::TruncIOp::create(d.b, d.loc, d.b.getI32Type(), d.load(found, d.i32(0)));
  return {digits, d.load(found, d.i32(1))};
}

/// { the key at which the weights (of `bits` bits) of greater and equal keys reach `need`, what is missing without its own }.
SmallVector<Value> SampleBlock::threshold(Value need, int64_t bits, Weight weight) {
  SmallVector<Value> state{d.i32(0), need};
  for (int64_t shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits)
    state = nextDigit(shift, state[0], state[1], bits, weight);
  return state;
}

/// The token with which the mass of kept tokens exceeds `point` goes to `found`.
void SampleBlock::findToken(Value key, Value ties, Value point) {
  Value each = massAt(key), lane = d.lane();
  // Tokens in front, and those that tie, of this warp's run; then of the runs before.
  SmallVector<Value> own = eachOwn({i64(0), d.i32(0)}, [&](Value, Value logit, ValueRange carried) {
    Value mine = mass.keyOf(logit), over = cmp(CmpIPredicate::ugt, mine, key);
    return SmallVector<Value>{
        d.add(carried[0], d.select(over, mass.massOf(logit, best, scale), i64(0))),
        d.add(carried[1], d.select(d.eq(mine, key), d.i32(1), d.i32(0)))};
  });
  Value massOfWarp = scan(own[0]), tiesOfWarp = d.warpScan(own[1]);
  d.barrier();
  d.ifThen(d.eq(lane, d.i32(kWarp - 1)), [&] {
    d.store(massOfWarp, sums, d.warp());
    d.store(tiesOfWarp, numbers, d.warp());
  });
  d.barrier();
  Value before = i64(0), tiesBefore = i64(0);
  auto keptOf = [&](Value met, Value count) -> Value { // of `count` ties after `met` others
    Value left = arith::MaxSIOp::create(d.b, d.loc, d.sub(ties, met), i64(0));
    return arith::MinSIOp::create(d.b, d.loc, left, count);
  };
  SmallVector<Value> runs = d.loop(d.i32(0), d.warp(), d.i32(1), ValueRange{before, tiesBefore},
                                   [&](Value w, ValueRange carried) {
                                     Value count = wide(d.load(numbers, w));
                                     Value kept = d.mul(keptOf(carried[1], count), each);
                                     return SmallVector<Value>{
                                         d.add(carried[0], d.add(d.load(sums, w), kept)), d.add(carried[1], count)};
                                   });
  Value count = wide(d.load(numbers, d.warp()));
  Value end = d.add(runs[0], d.add(d.load(sums, d.warp()), d.mul(keptOf(runs[1], count), each)));
  Value isHere = d.bitAnd(cmp(CmpIPredicate::ule, runs[0], point), cmp(CmpIPredicate::ugt, end, point));
  d.ifThen(isHere, [&] {
    // All lanes take every round: they add up together.
    d.loop(first, last, d.i32(kWarp), runs, [&](Value round, ValueRange carried) {
      Value chunk = d.add(round, lane), isIn = d.lt(chunk, last);
      Value token = d.mul(d.minS(chunk, d.i32(chunks - 1)), d.i32(width));
      Value loaded = k.load(logits, {row, token}, width);
      SmallVector<Value> masses, isTie;
      Value over = i64(0), tied = d.i32(0);
      for (int64_t i = 0; i < width; ++i) {
        Value logit = width == 1 ? loaded : d.element(loaded, i), mine = mass.keyOf(logit);
        Value isOver = d.bitAnd(isIn, cmp(CmpIPredicate::ugt, mine, key));
        isTie.push_back(d.bitAnd(isIn, d.eq(mine, key)));
        masses.push_back(d.select(isOver, mass.massOf(logit, best, scale), i64(0)));
        over = d.add(over, masses.back());
        tied = d.add(tied, d.select(isTie.back(), d.i32(1), d.i32(0)));
      }
      Value tiesMet = d.add(carried[1], wide(d.sub(d.warpScan(tied), tied)));
      Value whole = d.add(over, d.mul(keptOf(tiesMet, wide(tied)), each));
      Value upTo = scan(whole), at = d.add(carried[0], d.sub(upTo, whole));
      for (int64_t i = 0; i < width; ++i) {
        Value isKept = d.bitAnd(isTie[i], cmp(CmpIPredicate::slt, tiesMet, ties));
        Value next = d.add(at, d.select(isKept, each, masses[i]));
        Value isIt = d.bitAnd(cmp(CmpIPredicate::ule, at, point), cmp(CmpIPredicate::ugt, next, point));
        d.ifThen(isIt, [&] { d.store(wide(d.add(token, d.i32(i))), found, d.i32(0)); });
        tiesMet = d.add(tiesMet, d.select(isTie[i], i64(1), i64(0)));
        at = next;
      }
      auto fromLast = [&](Value half) { return d.shuffle(half, d.i32(kWarp - 1)); };
      return SmallVector<Value>{both(fromLast, at), both(fromLast, tiesMet)};
    });
  });
}

Value SampleBlock::draw() {
  auto entry = [&](Value tensor) { return k.load(k.buffer(tensor), {row}); };
  Value topK = entry(op.getTopK()), topP = entry(op.getTopP());
  scale = mass.scaleOf(entry(op.getTemperature()));
  Value some = d.bitAnd(d.lt(d.i32(0), topK), d.lt(topK, d.i32(vocab)));
  SmallVector<Value> kept = d.ifThenElse(
      some, [&] { return threshold(wide(topK), 1, [&](Value) { return i64(1); }); },
      [&]() -> SmallVector<Value> { return {d.i32(0), i64(0)}; });
  Value own = eachOwn(i64(0), [&](Value, Value logit, ValueRange carried) {
    Value over = cmp(CmpIPredicate::ugt, mass.keyOf(logit), kept[0]);
    return SmallVector<Value>{d.add(carried[0], d.select(over, mass.massOf(logit, best, scale), i64(0)))};
  })[0];
  Value total = d.add(sumOfBlock(own), d.mul(kept[1], massAt(kept[0])));
  Value isShare = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OLT, topP, d.f32(1));
  SmallVector<Value> start = d.ifThenElse(
      isShare,
      [&]() -> SmallVector<Value> {
        Value need = mass.shareOf(total, topP);
        SmallVector<Value> at =
            threshold(need, kMassBits, [&](Value logit) { return mass.massOf(logit, best, scale); });
        Value each = massAt(at[0]), ties = mass.tokensFor(at[1], each);
        return {at[0], ties, d.add(d.sub(need, at[1]), d.mul(ties, each))};
      },
      [&]() -> SmallVector<Value> { return {kept[0], kept[1], total}; });
  Value point = mass.pointIn(start[2], entry(op.getSeeds()), entry(op.getCounters()));
  findToken(start[0], start[1], point);
  d.barrier();
  return arith::TruncIOp::create(d.b, d.loc, d.b.getI32Type(), d.load(found, d.i32(0)));
}

/// The first thread writes what the row has come to.
void SampleBlock::finish(Value token, Value hasToken) {
  d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] {
    k.store(d.select(hasToken, token, d.i32(-1)), k.results[0], {row});
    d.ifThenElse(
        hasToken,
        [&]() -> SmallVector<Value> {
          Buffer &stops = k.buffer(op.getStops());
          Value isStop = d.boolean(false);
          for (int64_t i = 0; i < stops.size(1); ++i)
            isStop = d.bitOr(isStop, d.eq(k.load(stops, {row, d.i32(i)}), token));
          Value goesOn = d.select(isStop, d.i32(0), d.i32(1));
          Buffer &positions = k.buffer(op.getPositions()), &counters = k.buffer(op.getCounters());
          k.store(token, k.buffer(op.getIds()), {row});
          k.store(goesOn, k.buffer(op.getActive()), {row});
          k.store(d.add(k.load(positions, {row}), goesOn), positions, {row});
          k.store(d.add(k.load(counters, {row}), i64(1)), counters, {row});
          return {};
        },
        [&]() -> SmallVector<Value> {
          k.store(d.i32(0), k.buffer(op.getActive()), {row});
          return {};
        });
  });
}

LogicalResult SampleBlock::emit() {
  Value isActive = cmp(CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {row}), d.i32(0));
  SmallVector<Value> result = d.ifThenElse(
      isActive,
      [&]() -> SmallVector<Value> {
        SmallVector<Value> top = findBest();
        Value isNumber = d.eq(top[2], d.i32(0));
        best = mass.logitOf(top[0]);
        Value draws = d.bitAnd(isNumber, mass.draws(k.load(k.buffer(op.getTemperature()), {row}), best));
        Value token = d.ifThenElse(
            draws, [&]() -> SmallVector<Value> { return {draw()}; },
            [&]() -> SmallVector<Value> { return {top[1]}; })[0];
        return {token, isNumber};
      },
      [&]() -> SmallVector<Value> { return {d.i32(-1), d.boolean(false)}; });
  // All have read `active`.
  d.barrier();
  finish(result[0], result[1]);
  return success();
}

static LogicalResult emit(DeviceKernel &k) { return SampleBlock(k, cast<sparsity::SampleOp>(k.ops.front())).emit(); }

const Template sparse::device::sampleTemplate{whyNot, emit};
