//===-- Budgets.cpp - What layers keep of a budget that they share ------------------------------------------------===//
//
// `spread` looks at one layer, `share_budget` at all of them, `set_budget` writes what one layer got.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::lowering;

using Pred = arith::CmpIPredicate;
using sparsity::SharedBudgetPolicyInterface;

static Value addF(Emitter &e, Value a, Value c) { return arith::AddFOp::create(e.b, e.loc, a, c); }
static Value subF(Emitter &e, Value a, Value c) { return arith::SubFOp::create(e.b, e.loc, a, c); }
static Value mulF(Emitter &e, Value a, Value c) { return arith::MulFOp::create(e.b, e.loc, a, c); }
static Value divF(Emitter &e, Value a, Value c) { return arith::DivFOp::create(e.b, e.loc, a, c); }
static Value maxF(Emitter &e, Value a, Value c) { return arith::MaximumFOp::create(e.b, e.loc, a, c); }

static Value floatOf(Emitter &e, Value i32) { return arith::SIToFPOp::create(e.b, e.loc, e.b.getF32Type(), i32); }

Value sparse::lowering::unbiasedVariance(Emitter &e, Value squares, Value rest, Value count) {
  // The deviations from a rounded mean don't quite add up to 0.
  Value n = floatOf(e, count), least = e.cmp(Pred::sgt, count, e.i32(1));
  Value exact = subF(e, squares, divF(e, mulF(e, rest, rest), maxF(e, n, e.f32(1))));
  Value variance = divF(e, exact, maxF(e, subF(e, n, e.f32(1)), e.f32(1)));
  return e.select(least, maxF(e, variance, e.f32(0)), e.f32(0));
}

/// Sums over the slots below `extent` of what `terms` gives for one: of pieces of slots, then of the pieces, so that
/// roundings of long prompts don't add up.
static SmallVector<Value> sumsOverSlots(Emitter &e, Value extent, unsigned sums,
                                        function_ref<SmallVector<Value>(Value slot)> terms) {
  constexpr int64_t kPiece = 256;
  SmallVector<Value> zeros(sums, e.f32(0));
  auto addAll = [&](ValueRange to, ValueRange more) {
    SmallVector<Value> all;
    for (auto [a, c] : llvm::zip(to, more))
      all.push_back(addF(e, a, c));
    return all;
  };
  return e.loop(e.index(0), e.ceilDiv(extent, kPiece), zeros, [&](Value piece, ValueRange total) {
    Value first = e.mul(piece, e.index(kPiece)), last = e.min(extent, e.add(first, e.index(kPiece)));
    SmallVector<Value> own =
        e.loop(first, last, zeros, [&](Value slot, ValueRange carried) { return addAll(carried, terms(slot)); });
    return addAll(total, own);
  });
}

/// A task is a head: the mean of its live slots, then their deviations from it.
void sparse::lowering::lowerSpread(Emitter &e, KernelContext &k, sparsity::SpreadOp op) {
  LayerState state = k.layer(op.getState());
  auto policy = cast<SharedBudgetPolicyInterface>(op.getPolicy());
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  int64_t heads = state.layout.getKvHeads();
  Value out = e.empty({heads}, e.b.getF32Type());
  auto spreadOf = [&](Value head) {
    Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
    auto isLive = [&](Value slot) {
      return e.cmp(Pred::sge, e.extract(state["position"], {sequence, head, slot}), e.i32(0));
    };
    auto fieldOf = [&](Value slot) { return e.extract(state[policy.getSpreadField()], {sequence, head, slot}); };
    Value count = e.loop(e.index(0), extent, e.i32(0), [&](Value slot, ValueRange total) {
      Value one = arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), isLive(slot));
      return SmallVector<Value>{e.add(total[0], one)};
    })[0];
    Value sum = sumsOverSlots(e, extent, 1, [&](Value slot) {
      return SmallVector<Value>{e.select(isLive(slot), fieldOf(slot), e.f32(0))};
    })[0];
    Value mean = divF(e, sum, maxF(e, floatOf(e, count), e.f32(1)));
    SmallVector<Value> deviations = sumsOverSlots(e, extent, 2, [&](Value slot) {
      Value deviation = e.select(isLive(slot), subF(e, fieldOf(slot), mean), e.f32(0));
      return SmallVector<Value>{mulF(e, deviation, deviation), deviation};
    });
    return unbiasedVariance(e, deviations[0], deviations[1], count);
  };
  SmallVector<Value> results = e.parallel({heads}, out, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value governed = isGoverned(e, ivs[0], policy.getHeads()), own;
    if (governed)
      own = e.ifThen(governed, e.f32(-1), [&]() -> SmallVector<Value> { return {spreadOf(ivs[0])}; })[0];
    else
      own = spreadOf(ivs[0]);
    return {{e.filled({1}, own), {ivs[0]}, {1}}};
  });
  k.set(op.getVariances(), results[0]);
}

/// The mean over the governed heads of a layer of their variances, scaled to [0, 1].
static Value spreadOfLayer(Emitter &e, Value variances) {
  double infinity = std::numeric_limits<double>::infinity();
  int64_t heads = cast<RankedTensorType>(variances.getType()).getDimSize(0);
  auto governed = [&](Value variance) {
    return arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OGE, variance, e.f32(0));
  };
  SmallVector<Value> none{e.f32(infinity), e.f32(-infinity), e.f32(0)};
  SmallVector<Value> range = e.loop(heads, none, [&](Value head, ValueRange in) {
    Value own = e.extract(variances, head), counts = governed(own);
    Value least = arith::MinimumFOp::create(e.b, e.loc, in[0], own);
    return SmallVector<Value>{e.select(counts, least, in[0]), e.select(counts, maxF(e, in[1], own), in[1]),
                              e.select(counts, addF(e, in[2], e.f32(1)), in[2])};
  });
  Value width = addF(e, subF(e, range[1], range[0]), e.f32(sparsity::ShareBudgetOp::kLeastRange));
  Value sum = e.loop(heads, e.f32(0), [&](Value head, ValueRange in) {
    Value own = e.extract(variances, head);
    Value scaled = divF(e, subF(e, own, range[0]), width);
    return SmallVector<Value>{e.select(governed(own), addF(e, in[0], scaled), in[0])};
  })[0];
  return divF(e, sum, maxF(e, range[2], e.f32(1)));
}

/// The weights are those of a softmax, relative to the greatest: layers of equal spread have exactly the weight 1, and
/// the share 1.
void sparse::lowering::lowerShareBudget(Emitter &e, KernelContext &k, sparsity::ShareBudgetOp op) {
  auto policy = cast<SharedBudgetPolicyInterface>(op.getPolicy());
  SmallVector<Value> outputs;
  for ([[maybe_unused]] Value share : op.getShares())
    outputs.push_back(e.empty({1}, e.b.getF32Type()));
  SmallVector<Value> results = e.parallel({1}, outputs, [&](ValueRange ivs) {
    SmallVector<Value> logits;
    for (Value variances : op.getVariances())
      logits.push_back(policy.buildShareLogit(e.b, e.loc, spreadOfLayer(e, k[variances])));
    Value greatest = logits.front(), total = e.f32(0);
    for (Value logit : logits)
      greatest = maxF(e, greatest, logit);
    SmallVector<Value> weights;
    for (Value logit : logits) {
      weights.push_back(math::ExpOp::create(e.b, e.loc, subF(e, logit, greatest)));
      total = addF(e, total, weights.back());
    }
    SmallVector<Emitter::Piece> pieces;
    for (Value weight : weights) {
      Value share = divF(e, mulF(e, weight, e.f32(static_cast<double>(logits.size()))), total);
      pieces.push_back({e.filled({1}, share), {ivs[0]}, {1}});
    }
    return pieces;
  });
  for (auto [share, result] : llvm::zip(op.getShares(), results))
    k.set(share, result);
}

void sparse::lowering::lowerSetBudget(Emitter &e, KernelContext &k, sparsity::SetBudgetOp op) {
  LayerState state = k.layer(op.getState());
  auto policy = cast<SharedBudgetPolicyInterface>(op.getPolicy());
  ArrayRef<int64_t> heads = policy.getHeads();
  int64_t cap = state.layout.getCap(heads.empty() ? 0 : heads.front()).most;
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  Value share = e.extract(k[op.getShare()], e.index(0));
  state["budget"] = e.loop(state.layout.getKvHeads(), state["budget"], [&](Value head, ValueRange carried) {
    // An empty head has no tail.
    Value tail = arith::MaxSIOp::create(e.b, e.loc, e.extract(state["tail"], {sequence, head}), e.i32(0));
    Value newest = e.extract(state["position"], {sequence, head, e.toIndex(tail)});
    Value own = policy.buildBudget(e.b, e.loc, share, e.add(newest, e.i32(1)));
    own = arith::MinSIOp::create(e.b, e.loc, own, e.i32(cap));
    if (Value governed = isGoverned(e, head, heads))
      own = e.select(governed, own, e.extract(carried[0], {sequence, head}));
    return SmallVector<Value>{e.insert(own, carried[0], {sequence, head})};
  })[0];
  k.set(op.getResult(), state);
}
