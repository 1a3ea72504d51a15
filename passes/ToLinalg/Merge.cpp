//===-- Merge.cpp - The victims of a decode step go into slots that stay ------------------------------------------===//
//
// `match` finds the targets of each head's victim, `merge` changes them in place.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToLinalg/Merge.h"

#include <limits>

using namespace sparse;
using namespace sparse::lowering;
using namespace sparse::lowering::merging;

using Iter = utils::IteratorType;
using Pred = arith::CmpIPredicate;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The targets (i32 [m], -1 past the last) of a head's victim, and its share: the slots that follow it by position.
static SmallVector<Value> matchFollowing(Emitter &e, LayerState &state, MergePolicyInterface policy, int64_t layer,
                                         Value sequence, Value head, Value victim, Value position, Value extent,
                                         int64_t most) {
  // The least positions after the victim's, ascending: slots lie mostly in that order, so few are inserted.
  SmallVector<Value> init{e.filled({most}, e.i32(std::numeric_limits<int32_t>::max())), e.filled({most}, e.i32(-1))};
  SmallVector<Value> lists = e.loop(e.index(0), extent, init, [&](Value slot, ValueRange carried) {
    Value own = e.extract(state["position"], {sequence, head, slot});
    Value follows =
        e.both(e.cmp(Pred::sgt, own, position), e.cmp(Pred::slt, own, e.extract(carried[0], e.index(most - 1))));
    return e.ifThen(follows, carried, [&]() -> SmallVector<Value> {
      SmallVector<Value> start{carried[0], carried[1], own, e.toI32(slot)};
      SmallVector<Value> inserted = e.loop(most, start, [&](Value j, ValueRange in) {
        Value position = e.extract(in[0], j), there = e.extract(in[1], j);
        Value before = e.cmp(Pred::slt, in[2], position);
        return SmallVector<Value>{e.insert(e.select(before, in[2], position), in[0], j),
                                  e.insert(e.select(before, in[3], there), in[1], j), e.select(before, position, in[2]),
                                  e.select(before, there, in[3])};
      });
      return {inserted[0], inserted[1]};
    });
  });

  SmallVector<StringRef> fields = policy.getSlotFields();
  SmallVector<Value> sums(fields.size(), e.f32(0));
  sums.push_back(e.i32(0));
  sums = e.loop(most, sums, [&](Value j, ValueRange carried) {
    Value target = e.extract(lists[1], j);
    return e.ifThen(e.cmp(Pred::sge, target, e.i32(0)), carried, [&]() {
      SmallVector<Value> next;
      for (auto [index, field] : llvm::enumerate(fields))
        next.push_back(arith::AddFOp::create(e.b, e.loc, carried[index],
                                             e.extract(state[field], {sequence, head, e.toIndex(target)})));
      next.push_back(e.add(carried.back(), e.i32(1)));
      return next;
    });
  });
  SmallVector<Value> own, means;
  Value count = toFloat(e, sums.back());
  for (auto [index, field] : llvm::enumerate(fields)) {
    own.push_back(e.extract(state[field], {sequence, head, victim}));
    means.push_back(arith::DivFOp::create(e.b, e.loc, sums[index], count));
  }
  Value share = policy.buildShare(e.b, e.loc, own, means, {}, drawFor(e, policy, layer, head, position));
  return {lists[1], share};
}

/// { cosine, position, slot } of the slot in pages [first, last) whose key is most similar to that of `wanted`, which is not
/// compared with itself; of equal ones the oldest. -inf, …, -1 where there is none.
static SmallVector<Value> nearestSlot(Emitter &e, LayerState &state, Value sequence, Value head, Value wanted, Value first,
                                      Value last) {
  kvcache::LayoutAttr layout = state.layout;
  int64_t dim = layout.getKeyDim();
  Value page = e.div(wanted, layout.getPage()), lane = e.rem(wanted, layout.getPage());
  Value physical = e.toIndex(e.extract(state["table"], {sequence, head, page}));
  SmallVector<Value> read = e.loop(dim, {e.filled({1, dim}, e.f32(0)), e.f32(0)}, [&](Value c, ValueRange carried) {
    Value x = e.toF32(e.extract(state["key"], {physical, c, lane}));
    return SmallVector<Value>{e.insert(x, carried[0], {e.index(0), c}),
                              arith::AddFOp::create(e.b, e.loc, carried[1], arith::MulFOp::create(e.b, e.loc, x, x))};
  });
  Value length = norm(e, read[1]);
  AffineMap all = e.map(2, {0, 1});
  Value unit = e.generic(
      {read[0]}, e.empty({1, dim}, e.b.getF32Type()), {all, all}, {Iter::parallel, Iter::parallel},
      [&](OpBuilder &b, Location loc, ValueRange a) -> Value { return arith::DivFOp::create(b, loc, a[0], length); });
  SmallVector<Value> init{e.f32(-std::numeric_limits<double>::infinity()), e.i32(std::numeric_limits<int32_t>::max()),
                          e.i32(-1)};
  return e.loop(first, last, init, [&](Value p, ValueRange outer) {
    Value there = e.toIndex(e.extract(state["table"], {sequence, head, p}));
    Value similar = cosines(e, unit, keysOfPage(e, state, there));
    return e.loop(layout.getPage(), outer, [&](Value lane, ValueRange carried) {
      Value slot = e.add(e.mul(p, e.index(layout.getPage())), lane);
      Value own = e.extract(state["position"], {sequence, head, slot});
      Value cosine = e.extract(similar, {e.index(0), lane});
      Value more = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OGT, cosine, carried[0]);
      Value tie = e.both(arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OEQ, cosine, carried[0]),
                         e.cmp(Pred::slt, own, carried[1]));
      Value other = e.both(e.cmp(Pred::sge, own, e.i32(0)), e.cmp(Pred::ne, slot, wanted));
      Value better = e.both(other, e.either(more, tie));
      return SmallVector<Value>{e.select(better, cosine, carried[0]), e.select(better, own, carried[1]),
                                e.select(better, e.toI32(slot), carried[2])};
    });
  });
}

/// The target (i32 [1]) of a head's victim, the slot with the most similar key; and its share.
static SmallVector<Value> matchNearest(Emitter &e, LayerState &state, MergePolicyInterface policy, int64_t layer,
                                       Value sequence, Value head, Value victim, Value position, Value extent) {
  Value pages = e.ceilDiv(extent, state.layout.getPage());
  SmallVector<Value> best = nearestSlot(e, state, sequence, head, victim, e.index(0), pages);
  Value share = policy.buildShare(e.b, e.loc, {}, {}, best[0], drawFor(e, policy, layer, head, position));
  return {e.filled({1}, best[2]), share};
}

void sparse::lowering::lowerNearestPart(Emitter &e, KernelContext &k, sparsity::NearestPartOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value sequences = k[op.getSequences()];
  ArrayRef<int64_t> shape = tensorType(op.getSlot()).getShape(); // [T, Hk, S, P]
  Type i32 = e.b.getI32Type();

  SmallVector<Value> probed =
      e.parallel({shape[0], shape[1], shape[3]}, e.empty({shape[0], shape[1], shape[3]}, i32),
                 [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
                   Value sequence = e.toIndex(e.extract(sequences, ivs[0]));
                   Value wanted = e.extract(state[kvcache::kLikelyField], {sequence, ivs[1], ivs[2]});
                   Value count = e.extract(state["count"], {sequence, ivs[1]});
                   Value inside = e.both(e.cmp(Pred::sge, wanted, e.i32(0)), e.cmp(Pred::slt, wanted, count));
                   Value there = e.toIndex(e.select(inside, wanted, e.i32(0)));
                   Value position = e.extract(state["position"], {sequence, ivs[1], there});
                   Value live = e.both(inside, e.cmp(Pred::sge, position, e.i32(0)));
                   Value slot = e.filled({1}, e.select(live, wanted, e.i32(-1)));
                   return {{slot, {ivs[0], ivs[1], ivs[2]}, {1, 1, 1}}};
                 });
  SmallVector<Value> outputs{e.empty(shape, e.b.getF32Type()), e.empty(shape, i32), e.empty(shape, i32)};
  SmallVector<Value> found = e.parallel(shape, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value row = ivs[0], head = ivs[1], sequence = e.toIndex(e.extract(sequences, row));
    Value extent = e.toIndex(e.extract(state["count"], {sequence, head})), pages = e.ceilDiv(extent, layout.getPage());
    Value length = segmentLength(e, pages, op.getSegment(), shape[2]);
    Value first = e.min(e.mul(ivs[2], length), pages), last = e.min(e.add(first, length), pages);
    Value wanted = e.extract(probed[0], {row, head, ivs[3]});
    SmallVector<Value> none{e.f32(-std::numeric_limits<double>::infinity()), e.i32(-1), e.i32(-1)};
    SmallVector<Value> best = e.ifThen(e.cmp(Pred::sge, wanted, e.i32(0)), none, [&]() {
      return nearestSlot(e, state, sequence, head, e.toIndex(wanted), first, last);
    });
    SmallVector<Emitter::Piece> pieces;
    for (Value part : best)
      pieces.push_back({e.filled({1}, part), {row, head, ivs[2], ivs[3]}, {1, 1, 1, 1}});
    return pieces;
  });
  k.set(op.getProbed(), probed[0]);
  k.set(op.getCosine(), found[0]);
  k.set(op.getPosition(), found[1]);
  k.set(op.getSlot(), found[2]);
}

void sparse::lowering::lowerMatch(Emitter &e, KernelContext &k, sparsity::MatchOp op) {
  LayerState state = k.layer(op.getState());
  auto policy = cast<MergePolicyInterface>(op.getPolicy());
  Value evicted = k[op.getEvicted()], sequences = k[op.getSequences()];
  ArrayRef<int64_t> shape = cast<RankedTensorType>(op.getTargets().getType()).getShape(); // [B, Hk, m]
  int64_t layer = op.getLayer();

  SmallVector<Value> outputs{e.empty(shape, e.b.getI32Type()), e.empty(shape.drop_back(), e.b.getF32Type())};
  SmallVector<Value> results =
      e.parallel(shape.drop_back(), outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value row = ivs[0], head = ivs[1];
        Value position = e.extract(evicted, {row, head});
        Value acts = e.both(e.cmp(Pred::sge, position, e.i32(0)), governs(e, policy, head));
        SmallVector<Value> none{e.filled({shape[2]}, e.i32(-1)), e.f32(0)};
        SmallVector<Value> found = e.ifThen(acts, none, [&]() -> SmallVector<Value> {
          Value sequence = e.toIndex(e.extract(sequences, row));
          Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
          Value victim = e.toIndex(e.extract(state["victim"], {sequence, head}));
          if (policy.getTargets() == MergeTargets::Nearest)
            return matchNearest(e, state, policy, layer, sequence, head, victim, position, extent);
          return matchFollowing(e, state, policy, layer, sequence, head, victim, position, extent, shape[2]);
        });
        SmallVector<OpFoldResult> at{row, head, e.b.getIndexAttr(0)};
        return {{found[0], at, {1, 1, shape[2]}}, {e.filled({1}, found[1]), {row, head}, {1, 1}}};
      });
  k.set(op.getTargets(), results[0]);
  k.set(op.getShare(), results[1]);
}

void sparse::lowering::lowerMerge(Emitter &e, KernelContext &k, sparsity::MergeOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  auto policy = cast<MergePolicyInterface>(op.getPolicy());
  Value targets = k[op.getTargets()], shares = k[op.getShare()], sequences = k[op.getSequences()];
  ArrayRef<int64_t> shape = tensorType(targets).getShape();
  auto targetAt = [&](Value row, Value head, Value j) { return e.extract(targets, {row, head, j}); };
  auto hasTarget = [&](Value row, Value head) { return e.cmp(Pred::sge, targetAt(row, head, e.index(0)), e.i32(0)); };

  auto mergeHead = [&](Value row, Value head, Value sequence) {
    Value count = e.loop(shape[2], e.i32(0), [&](Value j, ValueRange carried) {
      Value one =
          arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), e.cmp(Pred::sge, targetAt(row, head, j), e.i32(0)));
      return SmallVector<Value>{e.add(carried[0], one)};
    })[0];
    sparsity::MergeWeights w =
        weightsOf(e, state, policy, sequence, head, e.extract(shares, {row, head}), toFloat(e, count));
    countMerge(e, state, policy, sequence, head, w.merges);
    Value victim = e.toIndex(e.extract(state["victim"], {sequence, head}));
    Value from = e.toIndex(e.extract(state["table"], {sequence, head, e.div(victim, layout.getPage())}));
    Value fromLane = e.rem(victim, layout.getPage());
    stateIf(e, state, w.merges, {}, [&]() -> SmallVector<Value> {
      return stateLoop(e, state, e.index(0), e.toIndex(count), {}, [&](Value j, ValueRange) -> SmallVector<Value> {
        Value target = e.toIndex(targetAt(row, head, j)), lane = e.rem(target, layout.getPage());
        Value to = e.toIndex(e.extract(state["table"], {sequence, head, e.div(target, layout.getPage())}));
        auto blend = [&](StringRef pool) {
          Value scaleOfGone = slotScale(e, state, pool, sequence, head, victim);
          Value scaleBefore = slotScale(e, state, pool, sequence, head, target);
          storeRow(e, state, pool, sequence, head, target, to, [&](Value tensor, Value channel) {
            Value gone = numberOf(e, e.extract(tensor, placeInPool(pool, from, fromLane, channel)), scaleOfGone);
            Value before = numberOf(e, e.extract(tensor, placeInPool(pool, to, lane, channel)), scaleBefore);
            return blended(e, before, arith::MulFOp::create(e.b, e.loc, w.weight, gone), w.part);
          });
        };
        blend("value");
        if (policy.mergesKeys()) {
          blend("key");
          // What a page knows of its keys widens by the new one; it stays true, if looser.
          Value fresh = arith::ConstantOp::create(e.b, e.loc, e.b.getBoolAttr(false));
          updateContent(e, state, sequence, head, target, to, fresh);
        }
        return {};
      });
    });
  };

  stateLoop(e, state, e.index(0), e.index(shape[0]), {}, [&](Value row, ValueRange) -> SmallVector<Value> {
    Value sequence = e.toIndex(e.extract(sequences, row));
    if (!policy.getThresholdField().empty()) {
      SmallVector<Value> sums = e.loop(shape[1], {e.f32(0), e.i32(0)}, [&](Value head, ValueRange carried) {
        return e.ifThen(hasTarget(row, head), carried, [&]() -> SmallVector<Value> {
          return {arith::AddFOp::create(e.b, e.loc, carried[0], e.extract(shares, {row, head})),
                  e.add(carried[1], e.i32(1))};
        });
      });
      updateThreshold(e, state, policy, sequence, sums[0], sums[1]);
    }
    return stateLoop(e, state, e.index(0), e.index(shape[1]), {}, [&](Value head, ValueRange) -> SmallVector<Value> {
      return stateIf(e, state, hasTarget(row, head), {}, [&]() -> SmallVector<Value> {
        mergeHead(row, head, sequence);
        return {};
      });
    });
  });
  k.set(op.getResult(), state);
}
