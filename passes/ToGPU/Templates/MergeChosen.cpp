//===-- MergeChosen.cpp - What a compaction evicts goes into the copies of what it keeps --------------------------===//
//
// The meaning is that of the linalg lowerings (passes/ToLinalg/MergeChosen.cpp): every merge reads the targets as they
// were before, in the order of the slots.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/BlockFold.h"
#include "passes/ToGPU/Templates/MergeParts.h"
#include "passes/ToGPU/Templates/RowStore.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;
using sparsity::MergeTargets;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
/// The targets [first, last) of an evicted slot, among the kept ones (i32).
struct Targets {
  Value first, last;

  static Targets of(Device &d, sparsity::MergePolicyInterface policy, Value first, Value keep) {
    int64_t most = policy.getTargets() == MergeTargets::Following ? policy.getTargetCount() : 1;
    return {first, d.minS(keep, d.add(first, d.i32(most)))};
  }
  Value count(Device &d) const {
    return arith::SIToFPOp::create(d.b, d.loc, d.b.getF32Type(), d.sub(last, first));
  }
};
} // namespace

//===-- settle: a block for each head -----------------------------------------------------------------------------===//

static constexpr int64_t kWarpsOfHead = 16, kThreadsOfHead = kWarpsOfHead * kWarp;

namespace {
struct HeadSettle {
  DeviceKernel &k;
  Device &d;
  sparsity::SettleOp op;
  HeadMerge merge;
  BlockFold fold;

  Value target(Value head, Value slot) { return k.load(k.buffer(op.getTarget()), {head, slot}); }
  Value share(Value head, Value slot) { return k.load(k.buffer(op.getShare()), {head, slot}); }
  Value extent(Value head) { return k.load(merge.layer["count"], {merge.sequence, head}); }
  Value sumOfBlock(Value own) {
    return fold(d.warpSum(own), [&](Value a, Value c) { return d.addF(a, c); });
  }
  /// The threshold after what was evicted from all heads; every block adds that up for itself.
  Value settleThreshold(Value isFirst);
  void settleCounter(Value threshold, Value isFirst);
};
} // namespace

Value HeadSettle::settleThreshold(Value isFirst) {
  Value heads = d.i32(merge.layer.layout.getKvHeads()), threads = d.i32(kThreadsOfHead);
  SmallVector<Value> zero{d.f32(0), d.f32(0)};
  SmallVector<Value> own = d.loop(d.i32(0), heads, d.i32(1), zero, [&](Value head, ValueRange outer) {
    return d.loop(d.threadId(), extent(head), threads, outer, [&](Value slot, ValueRange in) {
      Value has = d.ge(target(head, slot), d.i32(0));
      return SmallVector<Value>{d.addF(in[0], d.select(has, share(head, slot), d.f32(0))),
                                d.addF(in[1], d.select(has, d.f32(1), d.f32(0)))};
    });
  });
  Value sum = sumOfBlock(own[0]), count = sumOfBlock(own[1]);
  Value any = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OGT, count, d.f32(0));
  return d.ifThenElse(
      any, [&]() -> SmallVector<Value> { return {merge.updateThreshold(sum, count, isFirst)}; },
      [&]() -> SmallVector<Value> { return {merge.threshold()}; })[0];
}

void HeadSettle::settleCounter(Value threshold, Value isFirst) {
  Value keep = k.load(k.buffer(op.getKept()), {merge.head});
  Value own = d.loop(d.threadId(), extent(merge.head), d.i32(kThreadsOfHead), d.f32(0), [&](Value slot, ValueRange in) {
    Value first = target(merge.head, slot);
    Value count = Targets::of(d, merge.policy, first, keep).count(d);
    sparsity::MergeWeights w = merge.policy.buildWeights(d.b, d.loc, share(merge.head, slot), threshold, count);
    Value merged = d.bitAnd(d.ge(first, d.i32(0)), w.merges);
    return SmallVector<Value>{d.addF(in[0], d.select(merged, d.f32(1), d.f32(0)))};
  })[0];
  Value merged = arith::FPToSIOp::create(d.b, d.loc, d.b.getI32Type(), sumOfBlock(own));
  d.ifThen(isFirst, [&] { merge.addToCounter(merged); });
}

static LogicalResult emitSettle(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::SettleOp>(k.ops.front());
  auto policy = cast<sparsity::MergePolicyInterface>(op.getPolicy());
  LayerBuffers &layer = k.layer(op.getState());
  k.grid = {layer.layout.getKvHeads(), 1, 1};
  k.block = {kThreadsOfHead, 1, 1};

  Value sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)}), isFirst = d.eq(d.threadId(), d.i32(0));
  HeadSettle s{k, d, op, {k, layer, policy, sequence, d.blockId(0)},
               BlockFold(d, d.b.getF32Type(), kWarpsOfHead, "sums")};
  Value threshold;
  if (!policy.getThresholdField().empty())
    threshold = s.settleThreshold(isFirst);
  if (!policy.getCounterField().empty())
    s.settleCounter(threshold, isFirst);
  return success();
}

const Template sparse::device::settleTemplate{whyNot, emitSettle};

//===-- merge_chosen: a warp for each kept slot -------------------------------------------------------------------===//

/// Slots that a lane looks at together.
static constexpr int64_t kWarpsOfBlock = 8, kTogether = 4;

namespace {
struct KeptMerge {
  DeviceKernel &k;
  Device &d;
  sparsity::MergeChosenOp op;
  HeadMerge merge;
  Value row, keep, threshold;
  bool divides;

  /// What is added up, the sum of the parts (their number where nothing divides) and then the lane's channels of the
  /// value and of the key, after a slot that goes into the row.
  SmallVector<Value> addSlot(Value slot, ValueRange sums);
  /// After all that go.
  SmallVector<Value> addAll(Value extent);
  void write(ArrayRef<Value> sums);

  struct Pool {
    StringRef name;
    Buffer *copy;
    Buffer *merged;
  };
  SmallVector<Pool> pools;
  int64_t channelsOfLane(const Pool &pool) { return llvm::divideCeil(pool.copy->size(2), kWarp); }
  Value channel(int64_t i) { return d.add(d.lane(), d.i32(i * kWarp)); }
};
} // namespace

SmallVector<Value> KeptMerge::addSlot(Value slot, ValueRange sums) {
  kvcache::LayoutAttr layout = merge.layer.layout;
  Value first = k.load(k.buffer(op.getTarget()), {merge.head, slot}), share = k.load(k.buffer(op.getShare()), {merge.head, slot});
  Value count = Targets::of(d, merge.policy, first, keep).count(d);
  sparsity::MergeWeights w = merge.policy.buildWeights(d.b, d.loc, share, threshold, count);
  divides = w.part != nullptr;
  return d.ifThenElse(
      w.merges,
      [&] {
        Value page = d.divU(slot, layout.getPage());
        SlotPlace place{merge.sequence, merge.head, slot, k.load(merge.layer["table"], {merge.sequence, merge.head, page}),
                        d.remU(slot, layout.getPage())};
        SmallVector<Value> next{d.addF(sums[0], divides ? w.part : d.f32(1))};
        for (const Pool &pool : pools) {
          RowReader gone(k, merge.layer, pool.name, place);
          for (int64_t i = 0; i < channelsOfLane(pool); ++i) {
            // Lanes without a channel add up the last one for nothing.
            Value x = gone(d.minS(channel(i), d.i32(pool.copy->size(2) - 1)));
            next.push_back(d.addF(sums[next.size()], d.mulF(w.weight, x)));
          }
        }
        return next;
      },
      [&] { return SmallVector<Value>(sums); });
}

SmallVector<Value> KeptMerge::addAll(Value extent) {
  SmallVector<Value> sums{d.f32(0)};
  for (const Pool &pool : pools)
    sums.append(channelsOfLane(pool), d.f32(0));
  return d.loop(d.i32(0), extent, d.i32(kWarp * kTogether), sums, [&](Value start, ValueRange outer) {
    SmallVector<Value> hits;
    for (int64_t i = 0; i < kTogether; ++i) {
      Value slot = d.add(start, channel(i)), inside = d.lt(slot, extent);
      Value first = k.load(k.buffer(op.getTarget()), {merge.head, d.select(inside, slot, d.i32(0))});
      Targets targets = Targets::of(d, merge.policy, first, keep);
      Value hit = d.bitAnd(d.bitAnd(inside, d.ge(first, d.i32(0))),
                           d.bitAnd(d.ge(row, first), d.lt(row, targets.last)));
      hits.push_back(d.ballot(hit));
    }
    SmallVector<Value> carried(outer);
    for (int64_t i = 0; i < kTogether; ++i) {
      // A bit at a time, from the lowest.
      SmallVector<Value> init{hits[i]};
      init.append(carried);
      carried = d.repeatWhile(init, [&](ValueRange in) {
        Value any = d.cmp(arith::CmpIPredicate::ne, in[0], d.i32(0));
        SmallVector<Value> next{any, d.bitAnd(in[0], d.sub(in[0], d.i32(1)))};
        next.append(d.ifThenElse(
            any,
            [&] {
              Value lowest = d.bitAnd(in[0], d.sub(d.i32(0), in[0]));
              Value lane = d.sub(d.i32(kWarp - 1), d.clz(lowest));
              return addSlot(d.add(start, d.add(lane, d.i32(i * kWarp))), in.drop_front());
            },
            [&] { return SmallVector<Value>(in.drop_front()); }));
        return next;
      });
      carried.erase(carried.begin());
    }
    return carried;
  });
}

void KeptMerge::write(ArrayRef<Value> sums) {
  Value part = sums[0], touched = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::UNE, part, d.f32(0));
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { k.store(part, k.results[0], {merge.head, row}); });
  size_t at = 1;
  for (const Pool &pool : pools)
    for (int64_t i = 0; i < channelsOfLane(pool); ++i) {
      Value own = channel(i), sum = sums[at++];
      d.ifThen(d.lt(own, d.i32(pool.copy->size(2))), [&] {
        Value old = k.load(*pool.copy, {merge.head, row, own});
        Value now = d.fromF32(blend(d, d.toF32(old), sum, divides ? part : Value()), pool.merged->span.element);
        k.store(d.select(touched, now, old), *pool.merged, {merge.head, row, own});
      });
    }
}

static LogicalResult emitMergeChosen(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::MergeChosenOp>(k.ops.front());
  auto policy = cast<sparsity::MergePolicyInterface>(op.getPolicy());
  LayerBuffers &layer = k.layer(op.getState());
  int64_t cap = k.results[0].size(1);
  k.grid = {static_cast<int64_t>(llvm::divideCeil(cap, kWarpsOfBlock)), layer.layout.getKvHeads(), 1};
  k.block = {kWarpsOfBlock * kWarp, 1, 1};

  Value head = d.blockId(1), row = d.add(d.mul(d.blockId(0), d.i32(kWarpsOfBlock)), d.warp());
  Value sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)}), keep = k.load(k.buffer(op.getKept()), {head});
  d.ifThen(d.lt(row, keep), [&] {
    KeptMerge m{k, d, op, {k, layer, policy, sequence, head}, row, keep, {}, false, {}};
    m.threshold = m.merge.threshold();
    m.pools.push_back({"value", &k.buffer(op.getValue()), &k.results[1]});
    if (policy.mergesKeys())
      m.pools.push_back({"key", &k.buffer(op.getKey()), &k.results[2]});
    m.write(m.addAll(k.load(layer["count"], {sequence, head})));
  });
  return success();
}

const Template sparse::device::mergeChosenTemplate{whyNot, emitMergeChosen};
