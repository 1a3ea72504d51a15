//===-- Sample.cpp - The next token of a row ----------------------------------------------------------------------===//
//
// Loops over scalars, a task for each row. Thresholds are found a digit at a time from the top, by histograms of the keys
// that agree with the digits so far.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToLinalg/Lowering.h"
#include "passes/ToLinalg/SampleMass.h"

using namespace sparse;
using namespace sparse::lowering;

using Pred = arith::CmpIPredicate;

namespace {

/// One row while its token is drawn.
struct Row {
  Emitter &e;
  SampleMass mass;
  Value logits, row, best, scale;
  int64_t vocab;

  Value logit(Value token) { return e.extract(logits, {row, token}); }
  Value own(Value token) { return mass.massOf(logit(token), best, scale); }

  static constexpr int64_t kDigitBits = 8, kBins = 1 << kDigitBits;
  using Weight = function_ref<Value(Value token)>;
  /// { the key at which the weights of greater and equal keys reach `need`, what is missing without its own }.
  SmallVector<Value> threshold(Value need, Weight weight);
  SmallVector<Value> nextDigit(int64_t shift, Value prefix, Value need, Weight weight);
  Value draw(Value topK, Value topP, Value seed, Value counter);
};

} // namespace

SmallVector<Value> Row::nextDigit(int64_t shift, Value prefix, Value need, Weight weight) {
  auto shifted = [&](Value value, int64_t by) -> Value { return arith::ShRUIOp::create(e.b, e.loc, value, e.i32(by)); };
  Value bins = e.loop(vocab, e.filled({kBins}, mass.i64(0)), [&](Value token, ValueRange carried) {
    Value key = mass.keyOf(logit(token)), added = weight(token);
    int64_t upper = shift + kDigitBits;
    if (upper < 32) {
      Value agrees = e.cmp(Pred::eq, shifted(key, upper), shifted(prefix, upper));
      added = e.select(agrees, added, mass.i64(0));
    }
    Value bin = e.toIndex(arith::AndIOp::create(e.b, e.loc, shifted(key, shift), e.i32(kBins - 1)));
    return SmallVector<Value>{e.insert(e.add(e.extract(carried[0], bin), added), carried[0], bin)};
  })[0];
  // From the highest bin down: the weights of the bins so far, and what was found.
  SmallVector<Value> found = e.loop(kBins, {mass.i64(0), prefix, need}, [&](Value step, ValueRange carried) {
    Value bin = e.sub(e.index(kBins - 1), step), above = carried[0];
    Value upTo = e.add(above, e.extract(bins, bin));
    Value isHere = e.both(e.cmp(Pred::ult, above, need), e.cmp(Pred::uge, upTo, need));
    Value digit = arith::ShLIOp::create(e.b, e.loc, e.toI32(bin), e.i32(shift));
    return SmallVector<Value>{upTo, e.select(isHere, e.either(prefix, digit), carried[1]),
                              e.select(isHere, e.sub(need, above), carried[2])};
  });
  return {found[1], found[2]};
}

SmallVector<Value> Row::threshold(Value need, Weight weight) {
  SmallVector<Value> state{e.i32(0), need};
  for (int64_t shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits)
    state = nextDigit(shift, state[0], state[1], weight);
  return state;
}

Value Row::draw(Value topK, Value topP, Value seed, Value counter) {
  auto wide = [&](Value v) -> Value { return arith::ExtSIOp::create(e.b, e.loc, e.b.getI64Type(), v); };
  // Kept are the tokens with a greater key than the threshold, and the first `ties` of those that have it.
  SmallVector<Value> everything{e.i32(0), mass.i64(0)};
  Value some = e.both(e.cmp(Pred::sgt, topK, e.i32(0)), e.cmp(Pred::slt, topK, e.i32(vocab)));
  SmallVector<Value> kept = e.ifThen(some, everything, [&] { return threshold(wide(topK), [&](Value) { return mass.i64(1); }); });
  Value total = e.loop(vocab, mass.i64(0), [&](Value token, ValueRange carried) {
    Value over = e.cmp(Pred::ugt, mass.keyOf(logit(token)), kept[0]);
    return SmallVector<Value>{e.add(carried[0], e.select(over, own(token), mass.i64(0)))};
  })[0];
  auto massAt = [&](Value key) { return mass.massOf(mass.logitOf(key), best, scale); };
  total = e.add(total, e.mul(kept[1], massAt(kept[0])));

  Value isShare = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OLT, topP, e.f32(1));
  SmallVector<Value> all{kept[0], kept[1], total};
  SmallVector<Value> start = e.ifThen(isShare, all, [&]() -> SmallVector<Value> {
    Value need = mass.shareOf(total, topP);
    SmallVector<Value> at = threshold(need, [&](Value token) { return own(token); });
    Value each = massAt(at[0]), ties = mass.tokensFor(at[1], each);
    // `need` is what lies above the threshold and what is missing at it.
    return {at[0], ties, e.add(e.sub(need, at[1]), e.mul(ties, each))};
  });

  Value point = mass.pointIn(start[2], seed, counter);
  return e.loop(vocab, {e.i32(0), mass.i64(0), start[1]}, [&](Value token, ValueRange carried) {
    Value key = mass.keyOf(logit(token));
    Value over = e.cmp(Pred::ugt, key, start[0]);
    Value tie = e.both(e.cmp(Pred::eq, key, start[0]), e.cmp(Pred::sgt, carried[2], mass.i64(0)));
    Value before = carried[1];
    Value after = e.add(before, e.select(e.either(over, tie), own(token), mass.i64(0)));
    Value isIt = e.both(e.cmp(Pred::ule, before, point), e.cmp(Pred::ugt, after, point));
    return SmallVector<Value>{e.select(isIt, e.toI32(token), carried[0]), after,
                              e.select(tie, e.sub(carried[2], mass.i64(1)), carried[2])};
  })[0];
}

void sparse::lowering::lowerSample(Emitter &e, KernelContext &k, sparsity::SampleOp op) {
  Value logits = k[op.getLogits()], ids = k[op.getIds()], positions = k[op.getPositions()], active = k[op.getActive()],
        counters = k[op.getCounters()], stops = k[op.getStops()];
  auto type = cast<RankedTensorType>(logits.getType());
  int64_t rows = type.getDimSize(0), vocab = type.getDimSize(1);
  int64_t mostStops = cast<RankedTensorType>(stops.getType()).getDimSize(1);
  Type i32 = e.b.getI32Type();
  SmallVector<Value> outputs{e.empty({rows}, i32), ids, positions, active, counters};
  SmallVector<Value> results = e.parallel({rows}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value row = ivs[0], no = arith::ConstantOp::create(e.b, e.loc, e.b.getBoolAttr(false));
    SampleMass mass(e.b, e.loc);
    SmallVector<Value> first = e.loop(vocab, {e.i32(0), e.i32(0), no}, [&](Value token, ValueRange carried) {
      Value logit = e.extract(logits, {row, token}), key = mass.keyOf(logit);
      Value better = e.cmp(Pred::ugt, key, carried[0]);
      Value isNone = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::UNO, logit, logit);
      return SmallVector<Value>{e.select(better, key, carried[0]), e.select(better, e.toI32(token), carried[1]),
                                e.either(carried[2], isNone)};
    });
    Value isActive = e.cmp(Pred::ne, e.extract(active, row), e.i32(0));
    Value hasToken = e.select(first[2], no, isActive);
    Value temperature = e.extract(k[op.getTemperature()], row), best = mass.logitOf(first[0]);
    Value draws = e.both(hasToken, mass.draws(temperature, best));
    Value token = e.ifThen(draws, first[1], [&]() -> SmallVector<Value> {
      Row drawn{e, mass, logits, row, best, mass.scaleOf(temperature), vocab};
      return {drawn.draw(e.extract(k[op.getTopK()], row), e.extract(k[op.getTopP()], row),
                         e.extract(k[op.getSeeds()], row), e.extract(counters, row))};
    })[0];
    Value stopped = e.loop(mostStops, no, [&](Value i, ValueRange carried) {
      return SmallVector<Value>{e.either(carried[0], e.cmp(Pred::eq, e.extract(stops, {row, i}), token))};
    })[0];
    Value goesOn = e.select(stopped, no, hasToken);
    auto number = [&](Value truth) -> Value { return arith::ExtUIOp::create(e.b, e.loc, i32, truth); };
    Value count = arith::ExtUIOp::create(e.b, e.loc, e.b.getI64Type(), hasToken);
    SmallVector<Value> values{e.select(hasToken, token, e.i32(-1)), e.select(hasToken, token, e.extract(ids, row)),
                              e.add(e.extract(positions, row), number(goesOn)), number(goesOn),
                              e.add(e.extract(counters, row), count)};
    SmallVector<Emitter::Piece> pieces;
    for (Value value : values)
      pieces.push_back({e.filled({1}, value), {row}, {1}});
    return pieces;
  });
  k.set(op.getTokens(), results[0]);
  for (auto [result, value] : llvm::zip(op.getResults().drop_front(), ArrayRef(results).drop_front())) {
    k.set(result, value);
    k.tie[result] = k[op.getTied(result)];
  }
}
