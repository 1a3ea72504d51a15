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

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

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

static void matchChosenFollowing(Emitter &e, KernelContext &k, sparsity::MatchChosenOp op, LayerState &state,
                                 MergePolicyInterface policy, Value sequence) {
  Value kept = k[op.getKept()], positions = k[op.getSlots()[2]];
  SmallVector<StringRef> all, fields = policy.getSlotFields();
  for (auto field : state.layout.getFields().getAsRange<kvcache::FieldAttr>())
    if (field.getScope() == kvcache::Scope::Slot)
      all.push_back(field.getName());
  auto copyOf = [&](StringRef field) { return k[op.getSlots()[3 + (llvm::find(all, field) - all.begin())]]; };
  ArrayRef<int64_t> shape = cast<RankedTensorType>(op.getTarget().getType()).getShape(); // [Hk, slots]
  Type f32 = e.b.getF32Type();

  SmallVector<Value> outputs{e.empty(shape, e.b.getI32Type()), e.empty(shape, f32)};
  SmallVector<Value> results = e.parallel({shape[0]}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value head = ivs[0];
    SmallVector<Value> init{e.filled({shape[1]}, e.i32(-1)), e.filled({shape[1]}, e.f32(0))};
    SmallVector<Value> found = e.ifThen(cuts(e, policy, kept, head), init, [&]() -> SmallVector<Value> {
      Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
      Value keep = e.toIndex(e.extract(kept, head));
      return e.loop(e.index(0), extent, init, [&](Value slot, ValueRange carried) {
        auto [gone, first] = isEvicted(e, state, positions, sequence, head, keep, slot);
        Value last = e.min(keep, e.add(first, e.index(policy.getTargetCount())));
        Value any = e.both(gone, e.cmp(Pred::ult, first, last));
        return e.ifThen(any, carried, [&, first = first]() -> SmallVector<Value> {
          SmallVector<Value> own, means, sums(fields.size(), e.f32(0));
          sums = fields.empty() ? sums : e.loop(first, last, sums, [&](Value j, ValueRange in) {
            SmallVector<Value> next;
            for (auto [index, field] : llvm::enumerate(fields))
              next.push_back(arith::AddFOp::create(e.b, e.loc, in[index], e.extract(copyOf(field), {head, j})));
            return next;
          });
          Value count = toFloat(e, e.toI32(e.sub(last, first)));
          for (auto [index, field] : llvm::enumerate(fields)) {
            own.push_back(e.extract(state[field], {sequence, head, slot}));
            means.push_back(arith::DivFOp::create(e.b, e.loc, sums[index], count));
          }
          Value position = e.extract(state["position"], {sequence, head, slot});
          Value share =
              policy.buildShare(e.b, e.loc, own, means, {}, drawFor(e, policy, op.getLayer(), head, position));
          return {e.insert(e.toI32(first), carried[0], slot), e.insert(share, carried[1], slot)};
        });
      });
    });
    OpFoldResult zero = e.b.getIndexAttr(0);
    return {{found[0], {head, zero}, {1, shape[1]}}, {found[1], {head, zero}, {1, shape[1]}}};
  });
  k.set(op.getTarget(), results[0]);
  k.set(op.getShare(), results[1]);
}

/// A task is a page of slots: tiles of kept keys stream by, and of their cosines only the greatest and its row stay,
/// packed into one integer: the cosine's bits above, the row below so that of equal ones the oldest wins.
static void matchChosenNearest(Emitter &e, KernelContext &k, sparsity::MatchChosenOp op, LayerState &state,
                               MergePolicyInterface policy, Value sequence) {
  kvcache::LayoutAttr layout = state.layout;
  Value kept = k[op.getKept()], keys = k[op.getSlots()[0]], positions = k[op.getSlots()[2]];
  int64_t heads = layout.getKvHeads(), page = layout.getPage(), dim = layout.getKeyDim();
  int64_t cap = tensorType(keys).getDimSize(1), rows = std::min(cap, kKeyTile);
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type(), i64 = e.b.getI64Type();
  auto long_ = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(e.b, e.loc, e.b.getI64IntegerAttr(value));
  };
  AffineMap all = e.map(2, {0, 1}), row = e.map(2, {0}), column = e.map(2, {1});
  constexpr int64_t kRowMask = 0xFFFFFFFF;

  SmallVector<Value> outputs{e.empty({heads, layout.getMaxSlots()}, i32), e.empty({heads, layout.getMaxSlots()}, f32)};
  SmallVector<Value> results =
      e.parallel({heads, layout.getMaxPages()}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value head = ivs[0], p = ivs[1];
        SmallVector<Value> init{e.filled({page}, e.i32(-1)), e.filled({page}, e.f32(0))};
        Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
        Value firstSlot = e.mul(p, e.index(page));
        Value acts = e.both(e.cmp(Pred::ult, firstSlot, extent), cuts(e, policy, kept, head));
        SmallVector<Value> found = e.ifThen(acts, init, [&]() -> SmallVector<Value> {
          Value keep = e.toIndex(e.extract(kept, head));
          Value there = e.toIndex(e.extract(state["table"], {sequence, head, p}));
          Value pageKeys = keysOfPage(e, state, there);
          Value none = e.filled({page}, long_(std::numeric_limits<int64_t>::min()));
          Value best = e.loop(e.index(0), e.ceilDiv(keep, rows), none, [&](Value tile, ValueRange carried) {
            // The last tile overlaps the one before it.
            Value start = e.min(e.mul(tile, e.index(rows)), e.index(cap - rows));
            Value raw = e.slice(keys, {head, start, e.b.getIndexAttr(0)}, {1, rows, dim}, {rows, dim});
            Value squares = e.generic(raw, e.filled({rows}, e.f32(0)), {all, row}, {Iter::parallel, Iter::reduction},
                                      [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                        Value x = Emitter(b, loc).toF32(a[0]);
                                        return arith::AddFOp::create(b, loc, a[1], arith::MulFOp::create(b, loc, x, x));
                                      });
            Value unit =
                e.generic({raw, squares}, e.empty({rows, dim}, f32), {all, row, all}, {Iter::parallel, Iter::parallel},
                          [](OpBuilder &b, Location loc, ValueRange a) -> Value {
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
                  Value low = in.sub(long_(kRowMask), arith::IndexCastOp::create(b, loc, i64, own));
                  Value packed = arith::OrIOp::create(b, loc, arith::ShLIOp::create(b, loc, high, long_(32)), low);
                  packed = in.select(in.cmp(Pred::ult, own, keep), packed, long_(std::numeric_limits<int64_t>::min()));
                  return arith::MaxSIOp::create(b, loc, a[1], packed);
                })};
          })[0];
          return e.loop(page, init, [&](Value lane, ValueRange carried) {
            Value slot = e.add(firstSlot, lane);
            Value gone = isEvicted(e, state, positions, sequence, head, keep, slot).first;
            return e.ifThen(e.both(gone, e.cmp(Pred::ult, slot, extent)), carried, [&]() -> SmallVector<Value> {
              Value packed = e.extract(best, lane);
              Value low = arith::AndIOp::create(e.b, e.loc, packed, long_(kRowMask));
              Value target = arith::TruncIOp::create(e.b, e.loc, i32, e.sub(long_(kRowMask), low));
              Value high =
                  arith::TruncIOp::create(e.b, e.loc, i32, arith::ShRSIOp::create(e.b, e.loc, packed, long_(32)));
              // `ordered` is its own inverse.
              Value negative = e.cmp(Pred::slt, high, e.i32(0));
              Value flipped = arith::XOrIOp::create(e.b, e.loc, high, e.i32(std::numeric_limits<int32_t>::max()));
              Value cosine = arith::BitcastOp::create(e.b, e.loc, f32, e.select(negative, flipped, high));
              Value position = e.extract(state["position"], {sequence, head, slot});
              Value share =
                  policy.buildShare(e.b, e.loc, {}, {}, cosine, drawFor(e, policy, op.getLayer(), head, position));
              return {e.insert(target, carried[0], lane), e.insert(share, carried[1], lane)};
            });
          });
        });
        return {{found[0], {head, firstSlot}, {1, page}}, {found[1], {head, firstSlot}, {1, page}}};
      });
  k.set(op.getTarget(), results[0]);
  k.set(op.getShare(), results[1]);
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

void sparse::lowering::lowerMergeChosen(Emitter &e, KernelContext &k, sparsity::MergeChosenOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  auto policy = cast<MergePolicyInterface>(op.getPolicy());
  Value kept = k[op.getKept()], target = k[op.getTarget()], shares = k[op.getShare()];
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  bool keys = policy.mergesKeys();
  int64_t heads = layout.getKvHeads(), cap = tensorType(k[op.getValue()]).getDimSize(1);
  Type f32 = e.b.getF32Type();
  SmallVector<int64_t> widths{layout.getValueDim()};
  SmallVector<Value> copies{k[op.getValue()]};
  if (keys) {
    widths.push_back(layout.getKeyDim());
    copies.push_back(k[op.getKey()]);
  }

  // Parts of the divisors (or how many merges touch a target, where nothing divides), then sums and new copies of the
  // values, then of the keys.
  SmallVector<Value> outputs{e.empty({heads, cap}, f32)};
  for (int64_t width : widths) {
    outputs.push_back(e.empty({heads, cap, width}, f32));
    outputs.push_back(e.empty({heads, cap, width}, layout.getType()));
  }
  SmallVector<Value> results = e.parallel({heads}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value head = ivs[0];
    Value keep = e.toIndex(arith::MaxSIOp::create(e.b, e.loc, e.extract(kept, head), e.i32(0)));
    Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
    SmallVector<Value> sums{e.filled({cap}, e.f32(0))};
    for (int64_t width : widths)
      sums.push_back(e.filled({cap, width}, e.f32(0)));
    bool divides = false;
    sums = e.loop(e.index(0), extent, sums, [&](Value slot, ValueRange outer) {
      Value firstI32 = e.extract(target, {head, slot});
      return e.ifThen(e.cmp(Pred::sge, firstI32, e.i32(0)), outer, [&]() -> SmallVector<Value> {
        Value first = e.toIndex(firstI32), last = lastTarget(e, policy, first, keep);
        sparsity::MergeWeights w = weightsOf(e, state, policy, sequence, head, e.extract(shares, {head, slot}),
                                             toFloat(e, e.toI32(e.sub(last, first))));
        divides = w.part != nullptr;
        Value part = divides ? w.part : e.f32(1);
        Value lane = e.rem(slot, layout.getPage());
        Value page = e.toIndex(e.extract(state["table"], {sequence, head, e.div(slot, layout.getPage())}));
        return e.ifThen(w.merges, outer, [&]() -> SmallVector<Value> {
          return e.loop(first, last, outer, [&](Value j, ValueRange carried) {
            SmallVector<Value> next(carried);
            next[0] = e.insert(arith::AddFOp::create(e.b, e.loc, e.extract(next[0], j), part), next[0], j);
            for (size_t i = 0; i < widths.size(); ++i)
              next[1 + i] = e.loop(widths[i], next[1 + i], [&](Value c, ValueRange in) {
                Value gone =
                    i == 0 ? e.extract(state["value"], {page, lane, c}) : e.extract(state["key"], {page, c, lane});
                Value added = arith::MulFOp::create(e.b, e.loc, w.weight, e.toF32(gone));
                Value sum = arith::AddFOp::create(e.b, e.loc, e.extract(in[0], {j, c}), added);
                return SmallVector<Value>{e.insert(sum, in[0], {j, c})};
              })[0];
            return next;
          });
        });
      });
    });
    OpFoldResult zero = e.b.getIndexAttr(0);
    SmallVector<Emitter::Piece> pieces{{sums[0], {head, zero}, {1, cap}}};
    for (size_t i = 0; i < widths.size(); ++i) {
      Value sum = sums[1 + i], copy = copies[i];
      int64_t width = widths[i];
      Value merged = e.loop(e.index(0), keep, e.empty({cap, width}, layout.getType()), [&](Value j, ValueRange outer) {
        Value part = e.extract(sums[0], j);
        Value touched = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::UNE, part, e.f32(0));
        return e.loop(width, outer, [&](Value c, ValueRange in) {
          Value old = e.extract(copy, {head, j, c});
          Value now = blended(e, old, e.extract(sum, {j, c}), divides ? part : Value());
          now = e.select(touched, e.fromF32(now, layout.getType()), old);
          return SmallVector<Value>{e.insert(now, in[0], {j, c})};
        });
      })[0];
      pieces.push_back({sum, {head, zero, zero}, {1, cap, width}});
      pieces.push_back({merged, {head, zero, zero}, {1, cap, width}});
    }
    return pieces;
  });
  k.set(op.getParts(), results[0]);
  for (auto [slots, result] : llvm::zip(op.getMerged(), ArrayRef(results).drop_front()))
    k.set(slots, result);
}
