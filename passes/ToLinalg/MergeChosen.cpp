//===-- MergeChosen.cpp - What a compaction evicts goes into what it keeps ----------------------------------------===//
//
// `match_chosen` finds the targets of each evicted slot among the gathered copies of the kept ones, `settle` updates
// what the policy keeps of a head, `merge_chosen` adds up. Every merge reads the targets as they were before: the order
// of the slots matters to rounding alone, and is fixed.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToLinalg/Merge.h"

#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace sparse;
using namespace sparse::lowering;
using namespace sparse::lowering::merging;

using Iter = utils::IteratorType;
using Pred = arith::CmpIPredicate;

/// Kept keys that one step of `match_chosen` compares with a page.
static constexpr int64_t kKeyTile = 8;
/// Most kept slots of one task of `merge_chosen`.
static constexpr int64_t kKeptTile = 16;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The lower half of a packed cosine and row.
static constexpr int64_t kRowMask = 0xFFFFFFFF;

static Value long_(Emitter &e, int64_t value) {
  return arith::ConstantOp::create(e.b, e.loc, e.b.getI64IntegerAttr(value));
}

/// The first of the kept slots (index) whose position is not before `position`; `kept` when there is none.
static Value firstNotBefore(Emitter &e, Value positions, Value head, Value kept, Value position) {
  int64_t cap = tensorType(positions).getDimSize(1);
  SmallVector<Value> range = e.loop(llvm::Log2_64_Ceil(cap) + 1, {e.index(0), kept}, [&](Value, ValueRange carried) {
    Value open = e.cmp(Pred::ult, carried[0], carried[1]);
    Value middle = e.div(e.add(carried[0], carried[1]), 2);
    Value own = e.extract(positions, {head, e.min(middle, e.index(cap - 1))});
    Value before = e.both(open, e.cmp(Pred::slt, own, position));
    Value not_ = e.both(open, e.cmp(Pred::sge, own, position));
    return SmallVector<Value>{e.select(before, e.add(middle, e.index(1)), carried[0]),
                              e.select(not_, middle, carried[1])};
  });
  return range[0];
}

/// Whether slot `slot` is live and not among the kept ones; gives the first kept slot after it, too.
static std::pair<Value, Value> isEvicted(Emitter &e, LayerState &state, Value positions, Value sequence, Value head,
                                         Value kept, Value slot) {
  int64_t cap = tensorType(positions).getDimSize(1);
  Value position = e.extract(state["position"], {sequence, head, slot});
  Value next = firstNotBefore(e, positions, head, kept, position);
  Value there = e.extract(positions, {head, e.min(next, e.index(cap - 1))});
  Value stays = e.both(e.cmp(Pred::ult, next, kept), e.cmp(Pred::eq, there, position));
  Value truth = arith::ConstantOp::create(e.b, e.loc, e.b.getBoolAttr(true));
  Value gone = e.both(e.cmp(Pred::sge, position, e.i32(0)), arith::XOrIOp::create(e.b, e.loc, stays, truth));
  return {gone, next};
}

/// Whether the policy merges in a head that a compaction cuts.
static Value cuts(Emitter &e, MergePolicyInterface policy, Value kept, Value head) {
  return e.both(e.cmp(Pred::sgt, e.extract(kept, head), e.i32(0)), governs(e, policy, head));
}

namespace {
/// A page of slots of a head that a compaction cuts to `keep` slots.
struct PageTask {
  Value sequence, head, page, keep;
};
} // namespace

/// A task for each page of each head: `slotOf` gives the target and the share of an evicted slot, from the first kept
/// slot after it and its place in the page; `before` runs once for the page.
static void forPagesOfEvicted(
    Emitter &e, KernelContext &k, sparsity::MatchChosenOp op, LayerState &state, MergePolicyInterface policy,
    Value sequence,
    function_ref<std::pair<Value, Value>(const PageTask &, Value slot, Value first, Value lane)> slotOf,
    function_ref<void(const PageTask &)> before = [](const PageTask &) {}) {
  kvcache::LayoutAttr layout = state.layout;
  Value kept = k[op.getKept()], positions = k[op.getSlots()[2]];
  int64_t heads = layout.getKvHeads(), page = layout.getPage();
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type();
  SmallVector<Value> outputs{e.empty({heads, layout.getMaxSlots()}, i32), e.empty({heads, layout.getMaxSlots()}, f32)};
  SmallVector<Value> results = e.parallel(
      {heads, layout.getMaxPages()}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        PageTask t{sequence, ivs[0], ivs[1], {}};
        SmallVector<Value> init{e.filled({page}, e.i32(-1)), e.filled({page}, e.f32(0))};
        Value extent = e.toIndex(e.extract(state["count"], {sequence, t.head}));
        Value firstSlot = e.mul(t.page, e.index(page));
        Value acts = e.both(e.cmp(Pred::ult, firstSlot, extent), cuts(e, policy, kept, t.head));
        SmallVector<Value> found = e.ifThen(acts, init, [&]() -> SmallVector<Value> {
          t.keep = e.toIndex(e.extract(kept, t.head));
          before(t);
          return e.loop(page, init, [&](Value lane, ValueRange carried) {
            Value slot = e.add(firstSlot, lane);
            auto [gone, first] = isEvicted(e, state, positions, sequence, t.head, t.keep, slot);
            Value acts = e.both(gone, e.cmp(Pred::ult, slot, extent));
            return e.ifThen(acts, carried, [&, first = first]() -> SmallVector<Value> {
              auto [target, share] = slotOf(t, slot, first, lane);
              return {e.insert(target, carried[0], lane), e.insert(share, carried[1], lane)};
            });
          });
        });
        return {{found[0], {t.head, firstSlot}, {1, page}}, {found[1], {t.head, firstSlot}, {1, page}}};
      });
  k.set(op.getTarget(), results[0]);
  k.set(op.getShare(), results[1]);
}

static void matchChosenFollowing(Emitter &e, KernelContext &k, sparsity::MatchChosenOp op, LayerState &state,
                                 MergePolicyInterface policy, Value sequence) {
  SmallVector<StringRef> all = slotFields(state.layout), fields = policy.getSlotFields();
  auto copyOf = [&](StringRef field) { return k[op.getSlots()[3 + (llvm::find(all, field) - all.begin())]]; };

  forPagesOfEvicted(e, k, op, state, policy, sequence, [&](const PageTask &t, Value slot, Value first, Value) {
    SmallVector<Value> own, means, sums(fields.size(), e.f32(0));
    Value last = e.min(t.keep, e.add(first, e.index(policy.getTargetCount())));
    if (!fields.empty())
      sums = e.loop(first, last, sums, [&](Value j, ValueRange in) {
        SmallVector<Value> next;
        for (auto [index, field] : llvm::enumerate(fields))
          next.push_back(arith::AddFOp::create(e.b, e.loc, in[index], e.extract(copyOf(field), {t.head, j})));
        return next;
      });
    Value count = toFloat(e, e.toI32(e.sub(last, first)));
    for (auto [index, field] : llvm::enumerate(fields)) {
      own.push_back(e.extract(state[field], {sequence, t.head, slot}));
      means.push_back(arith::DivFOp::create(e.b, e.loc, sums[index], count));
    }
    Value position = e.extract(state["position"], {sequence, t.head, slot});
    Value share = policy.buildShare(e.b, e.loc, own, means, {}, drawFor(e, policy, op.getLayer(), t.head, position));
    // Nothing follows the last: no target.
    Value any = e.cmp(Pred::ult, first, t.keep);
    return std::pair(e.select(any, e.toI32(first), e.i32(-1)), share);
  });
}

/// Tiles of kept keys stream by a page, and of their cosines only the greatest and its row stay, packed into one
/// integer: the cosine's bits above, the row below so that of equal ones the oldest wins.
static Value bestOfPage(Emitter &e, LayerState &state, Value keys, const PageTask &t) {
  int64_t page = state.layout.getPage(), dim = state.layout.getKeyDim(), cap = tensorType(keys).getDimSize(1);
  int64_t rows = std::min(cap, kKeyTile);
  Type f32 = e.b.getF32Type(), i64 = e.b.getI64Type();
  AffineMap all = e.map(2, {0, 1}), row = e.map(2, {0}), column = e.map(2, {1});
  Value least = long_(e, std::numeric_limits<int64_t>::min());
  Value there = e.toIndex(e.extract(state["table"], {t.sequence, t.head, t.page}));
  Value pageKeys = keysOfPage(e, state, there);
  return e.loop(
      e.index(0), e.ceilDiv(t.keep, rows), e.filled({page}, least), [&](Value tile, ValueRange carried) {
        // The last tile overlaps the one before it.
        Value start = e.min(e.mul(tile, e.index(rows)), e.index(cap - rows));
        Value raw = e.slice(keys, {t.head, start, e.b.getIndexAttr(0)}, {1, rows, dim}, {rows, dim});
        Value squares = e.generic(raw, e.filled({rows}, e.f32(0)), {all, row}, {Iter::parallel, Iter::reduction},
                                  [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                    Value x = Emitter(b, loc).toF32(a[0]);
                                    return arith::AddFOp::create(b, loc, a[1], arith::MulFOp::create(b, loc, x, x));
                                  });
        Value unit = e.generic({raw, squares}, e.empty({rows, dim}, f32), {all, row, all},
                               {Iter::parallel, Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                 Emitter in(b, loc);
                                 return arith::DivFOp::create(b, loc, in.toF32(a[0]), norm(in, a[1]));
                               });
        Value similar = cosines(e, unit, pageKeys);
        return SmallVector<Value>{e.generic(
            similar, carried[0], {all, column}, {Iter::reduction, Iter::parallel},
            [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
              Emitter in(b, loc);
              Value own = in.add(start, linalg::IndexOp::create(b, loc, 0));
              Value high = arith::ExtSIOp::create(b, loc, i64, in.ordered(a[0]));
              Value low = in.sub(long_(in, kRowMask), arith::IndexCastOp::create(b, loc, i64, own));
              Value shifted = arith::ShLIOp::create(b, loc, high, long_(in, 32));
              Value packed = arith::OrIOp::create(b, loc, shifted, low);
              packed = in.select(in.cmp(Pred::ult, own, t.keep), packed, least);
              return arith::MaxSIOp::create(b, loc, a[1], packed);
            })};
      })[0];
}

/// The row and the cosine of what `bestOfPage` packed.
static std::pair<Value, Value> unpack(Emitter &e, Value packed) {
  Type i32 = e.b.getI32Type();
  Value low = arith::AndIOp::create(e.b, e.loc, packed, long_(e, kRowMask));
  Value row = arith::TruncIOp::create(e.b, e.loc, i32, e.sub(long_(e, kRowMask), low));
  Value high = arith::TruncIOp::create(e.b, e.loc, i32, arith::ShRSIOp::create(e.b, e.loc, packed, long_(e, 32)));
  // `ordered` is its own inverse.
  Value flipped = arith::XOrIOp::create(e.b, e.loc, high, e.i32(std::numeric_limits<int32_t>::max()));
  Value bits = e.select(e.cmp(Pred::slt, high, e.i32(0)), flipped, high);
  return {row, arith::BitcastOp::create(e.b, e.loc, e.b.getF32Type(), bits)};
}

static void matchChosenNearest(Emitter &e, KernelContext &k, sparsity::MatchChosenOp op, LayerState &state,
                               MergePolicyInterface policy, Value sequence) {
  Value keys = k[op.getSlots()[0]], best;
  forPagesOfEvicted(
      e, k, op, state, policy, sequence,
      [&](const PageTask &t, Value slot, Value, Value lane) {
        auto [row, cosine] = unpack(e, e.extract(best, lane));
        Value position = e.extract(state["position"], {sequence, t.head, slot});
        Value draw = drawFor(e, policy, op.getLayer(), t.head, position);
        return std::pair(row, policy.buildShare(e.b, e.loc, {}, {}, cosine, draw));
      },
      [&](const PageTask &t) { best = bestOfPage(e, state, keys, t); });
}

void sparse::lowering::lowerMatchChosen(Emitter &e, KernelContext &k, sparsity::MatchChosenOp op) {
  LayerState state = k.layer(op.getState());
  auto policy = cast<MergePolicyInterface>(op.getPolicy());
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  if (policy.getTargets() == MergeTargets::Nearest)
    matchChosenNearest(e, k, op, state, policy, sequence);
  else
    matchChosenFollowing(e, k, op, state, policy, sequence);
}

/// Targets of a slot whose first one is `first`, as indices [first, last).
static Value lastTarget(Emitter &e, MergePolicyInterface policy, Value first, Value keep) {
  int64_t most = policy.getTargets() == MergeTargets::Following ? policy.getTargetCount() : 1;
  return e.min(keep, e.add(first, e.index(most)));
}

void sparse::lowering::lowerSettle(Emitter &e, KernelContext &k, sparsity::SettleOp op) {
  LayerState state = k.layer(op.getState());
  auto policy = cast<MergePolicyInterface>(op.getPolicy());
  Value kept = k[op.getKept()], target = k[op.getTarget()], shares = k[op.getShare()];
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  int64_t heads = state.layout.getKvHeads();
  auto extentOf = [&](Value head) { return e.toIndex(e.extract(state["count"], {sequence, head})); };
  auto hasTarget = [&](Value head, Value slot) { return e.cmp(Pred::sge, e.extract(target, {head, slot}), e.i32(0)); };
  if (!policy.getThresholdField().empty()) {
    SmallVector<Value> sums = e.loop(heads, {e.f32(0), e.i32(0)}, [&](Value head, ValueRange outer) {
      return e.loop(e.index(0), extentOf(head), outer, [&](Value slot, ValueRange carried) {
        return e.ifThen(hasTarget(head, slot), carried, [&]() -> SmallVector<Value> {
          return {arith::AddFOp::create(e.b, e.loc, carried[0], e.extract(shares, {head, slot})),
                  e.add(carried[1], e.i32(1))};
        });
      });
    });
    updateThreshold(e, state, policy, sequence, sums[0], sums[1]);
  }
  if (!policy.getCounterField().empty())
    stateLoop(e, state, e.index(0), e.index(heads), {}, [&](Value head, ValueRange) -> SmallVector<Value> {
      return stateLoop(e, state, e.index(0), extentOf(head), {}, [&](Value slot, ValueRange) -> SmallVector<Value> {
        return stateIf(e, state, hasTarget(head, slot), {}, [&]() -> SmallVector<Value> {
          Value first = e.toIndex(e.extract(target, {head, slot}));
          Value last = lastTarget(e, policy, first, e.toIndex(e.extract(kept, head)));
          sparsity::MergeWeights w = weightsOf(e, state, policy, sequence, head, e.extract(shares, {head, slot}),
                                               toFloat(e, e.toI32(e.sub(last, first))));
          countMerge(e, state, policy, sequence, head, w.merges);
          return {};
        });
      });
    });
  k.set(op.getResult(), state);
}

/// A task is a tile of a head's kept slots: it looks at every evicted slot and adds up those that go into its own.
void sparse::lowering::lowerMergeChosen(Emitter &e, KernelContext &k, sparsity::MergeChosenOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  auto policy = cast<MergePolicyInterface>(op.getPolicy());
  Value kept = k[op.getKept()], target = k[op.getTarget()], shares = k[op.getShare()];
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  int64_t heads = layout.getKvHeads(), cap = tensorType(k[op.getValue()]).getDimSize(1);
  int64_t values = layout.getValueDim(), keys = policy.mergesKeys() ? layout.getKeyDim() : 0, rows = kKeptTile;
  while (cap % rows != 0)
    --rows;

  Type number = tensorType(k[op.getValue()]).getElementType(); // of the copies
  SmallVector<Value> outputs{e.empty({heads, cap}, e.b.getF32Type()), e.empty({heads, cap, values}, number)};
  if (keys)
    outputs.push_back(e.empty({heads, cap, keys}, number));
  SmallVector<Value> results = e.parallel({heads, cap / rows}, outputs, [&](ValueRange ivs) {
    Value head = ivs[0], start = e.mul(ivs[1], e.index(rows)), end = e.add(start, e.index(rows));
    Value keep = e.toIndex(arith::MaxSIOp::create(e.b, e.loc, e.extract(kept, head), e.i32(0)));
    Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
    // Parts of the divisors, or how many merges touch a slot where nothing divides; values and keys side by side.
    SmallVector<Value> sums{e.filled({rows}, e.f32(0)), e.filled({rows, values + keys}, e.f32(0))};
    bool divides = false;
    sums = e.loop(e.index(0), extent, sums, [&](Value slot, ValueRange outer) {
      Value firstI32 = e.extract(target, {head, slot}), first = e.toIndex(firstI32);
      Value last = lastTarget(e, policy, first, keep);
      Value from = arith::MaxSIOp::create(e.b, e.loc, first, start), to = e.min(last, end);
      Value mine = e.both(e.cmp(Pred::sge, firstI32, e.i32(0)), e.cmp(Pred::slt, from, to));
      return e.ifThen(mine, outer, [&]() -> SmallVector<Value> {
        sparsity::MergeWeights w = weightsOf(e, state, policy, sequence, head, e.extract(shares, {head, slot}),
                                             toFloat(e, e.toI32(e.sub(last, first))));
        divides = w.part != nullptr;
        Value part = divides ? w.part : e.f32(1);
        Value lane = e.rem(slot, layout.getPage());
        Value page = e.toIndex(e.extract(state["table"], {sequence, head, e.div(slot, layout.getPage())}));
        return e.ifThen(w.merges, outer, [&]() -> SmallVector<Value> {
          return e.loop(from, to, outer, [&](Value j, ValueRange carried) {
            Value row = e.sub(j, start);
            Value parts = arith::AddFOp::create(e.b, e.loc, e.extract(carried[0], row), part);
            auto add = [&](Value sum, StringRef pool, int64_t width, int64_t offset) {
              Value scale = slotScale(e, state, pool, sequence, head, slot);
              return e.loop(width, sum, [&](Value c, ValueRange in) {
                SmallVector<Value> at{row, e.add(c, e.index(offset))};
                Value gone = numberOf(e, e.extract(state[pool], placeInPool(pool, page, lane, c)), scale);
                Value added = arith::MulFOp::create(e.b, e.loc, w.weight, gone);
                Value now = arith::AddFOp::create(e.b, e.loc, e.extract(in[0], at), added);
                return SmallVector<Value>{e.insert(now, in[0], at)};
              })[0];
            };
            Value sum = add(carried[1], "value", values, 0);
            if (keys)
              sum = add(sum, "key", keys, values);
            return SmallVector<Value>{e.insert(parts, carried[0], row), sum};
          });
        });
      });
    });

    auto merged = [&](Value copy, int64_t width, int64_t offset) -> Emitter::Piece {
      Value all = e.loop(rows, e.empty({rows, width}, number), [&](Value row, ValueRange outer) {
        Value part = e.extract(sums[0], row);
        Value touched = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::UNE, part, e.f32(0));
        return e.loop(width, outer, [&](Value c, ValueRange in) {
          Value old = e.extract(copy, {head, e.add(start, row), c});
          Value sum = e.extract(sums[1], {row, e.add(c, e.index(offset))});
          Value now = blended(e, old, sum, divides ? part : Value());
          // Chosen as f32: between two bf16 LLVM makes of it a call of a function that kernels don't have.
          return SmallVector<Value>{e.insert(e.fromF32(e.select(touched, now, e.toF32(old)), number), in[0], {row, c})};
        });
      })[0];
      return {all, {head, start, e.b.getIndexAttr(0)}, {1, rows, width}};
    };
    SmallVector<Emitter::Piece> pieces{{sums[0], {head, start}, {1, rows}}, merged(k[op.getValue()], values, 0)};
    if (keys)
      pieces.push_back(merged(k[op.getKey()], keys, values));
    return pieces;
  });
  k.set(op.getParts(), results[0]);
  for (auto [slots, result] : llvm::zip(op.getMerged(), ArrayRef(results).drop_front()))
    k.set(slots, result);
}
