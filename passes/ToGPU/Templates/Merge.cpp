//===-- Merge.cpp - The victims of a decode step go into their targets, a block for each KV head of a row ---------===//
//
// The meaning is that of the linalg lowering (passes/ToLinalg/Merge.cpp). The threshold follows the shares of all heads
// of the row: every block adds them up for itself.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/ContentFields.h"
#include "passes/ToGPU/Templates/MergeParts.h"
#include "passes/ToGPU/Templates/RowStore.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

#include <numeric>

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostThreads = 512;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
struct VictimMerge {
  DeviceKernel &k;
  Device &d;
  sparsity::MergeOp op;
  HeadMerge merge;
  RowStore storeRow;
  int64_t threads;
  Value row, head;

  Value target(Value ofHead, Value j) { return k.load(k.buffer(op.getTargets()), {row, ofHead, j}); }
  Value share(Value ofHead) { return k.load(k.buffer(op.getShare()), {row, ofHead}); }
  SlotPlace placeOf(Value slot);
  /// The sum of the shares of heads that have a victim with a target, and how many they are (f32).
  std::pair<Value, Value> sharesOfRow();
  /// How many targets the head has (f32 and i32).
  std::pair<Value, Value> countTargets();
  /// The values of all targets at once, where they lie as numbers.
  void blendValues(Value count, const sparsity::MergeWeights &w);
  /// The value or key of one target.
  void blendRow(StringRef pool, Value target, const sparsity::MergeWeights &w);
};
} // namespace

SlotPlace VictimMerge::placeOf(Value slot) {
  kvcache::LayoutAttr layout = merge.layer.layout;
  Value page = d.divU(slot, layout.getPage()), lane = d.remU(slot, layout.getPage());
  return {merge.sequence, head, slot, k.load(merge.layer["table"], {merge.sequence, head, page}), lane};
}

std::pair<Value, Value> VictimMerge::sharesOfRow() {
  int64_t heads = merge.layer.layout.getKvHeads();
  SmallVector<Value> sums =
      d.loop(d.lane(), d.i32(heads), d.i32(kWarp), {d.f32(0), d.f32(0)}, [&](Value other, ValueRange in) {
        Value has = d.ge(target(other, d.i32(0)), d.i32(0));
        return SmallVector<Value>{d.addF(in[0], d.select(has, share(other), d.f32(0))),
                                  d.addF(in[1], d.select(has, d.f32(1), d.f32(0)))};
      });
  return {d.warpSum(sums[0]), d.warpSum(sums[1])};
}

std::pair<Value, Value> VictimMerge::countTargets() {
  int64_t most = k.buffer(op.getTargets()).size(2);
  Value own = d.loop(d.lane(), d.i32(most), d.i32(kWarp), d.f32(0), [&](Value j, ValueRange in) {
    return SmallVector<Value>{d.addF(in[0], d.select(d.ge(target(head, j), d.i32(0)), d.f32(1), d.f32(0)))};
  })[0];
  Value count = d.warpSum(own);
  return {count, arith::FPToSIOp::create(d.b, d.loc, d.b.getI32Type(), count)};
}

void VictimMerge::blendValues(Value count, const sparsity::MergeWeights &w) {
  LayerBuffers &layer = merge.layer;
  Type element = layer.layout.getElementType();
  Buffer &values = layer["value"];
  SlotPlace victim = placeOf(k.load(layer["victim"], {merge.sequence, head}));
  int64_t dim = layer.layout.getValueDim(), width = std::gcd(dim, 128 / int64_t(element.getIntOrFloatBitWidth()));
  int64_t pieces = dim / width;
  auto offset = [&](const SlotPlace &place, Value channel) {
    return k.offsetOf(values, lowering::placeInPool("value", place.physical, place.lane, channel));
  };
  Value weight = width > 1 ? d.splat(w.weight, width) : w.weight;
  d.loop(d.threadId(), d.mul(count, d.i32(pieces)), d.i32(threads), [&](Value i) {
    SlotPlace to = placeOf(target(head, d.divU(i, pieces)));
    Value channel = d.mul(d.remU(i, pieces), d.i32(width)), at = offset(to, channel);
    Value gone = d.toF32(d.load(values.span, offset(victim, channel), width));
    Value now = blend(d, d.toF32(d.load(values.span, at, width)), d.mulF(weight, gone), w.part);
    d.store(d.fromF32(now, element), values.span, at);
  });
}

void VictimMerge::blendRow(StringRef pool, Value target, const sparsity::MergeWeights &w) {
  LayerBuffers &layer = merge.layer;
  SlotPlace victim = placeOf(k.load(layer["victim"], {merge.sequence, head})), to = placeOf(target);
  // Scales are read before the row's new one is written.
  RowReader gone(k, layer, pool, victim), before(k, layer, pool, to);
  auto number = [&](Value channel) { return blend(d, before(channel), d.mulF(w.weight, gone(channel)), w.part); };
  if (pool == "value")
    return storeRow(pool, to, number);
  // What a page knows of its keys widens by the new one; it stays true, if looser.
  storeRow(pool, to, number, [&](Value channel, Value seen) {
    foldIntoContentFields(k, layer, to, d.divU(target, layer.layout.getPage()), channel, seen, d.boolean(false));
  });
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::MergeOp>(k.ops.front());
  auto policy = cast<sparsity::MergePolicyInterface>(op.getPolicy());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  Buffer &targets = k.buffer(op.getTargets()); // [B, Hk, m]
  int64_t most = targets.size(2), widest = std::max(layout.getKeyDim(), layout.getValueDim());
  int64_t threads = std::min<int64_t>(kMostThreads, llvm::alignTo(widest * most, kWarp));
  k.grid = {targets.size(1), targets.size(0), 1};
  k.block = {threads, 1, 1};

  Value head = d.blockId(0), row = d.blockId(1), isFirst = d.eq(d.threadId(), d.i32(0));
  VictimMerge v{k, d, op, {k, layer, policy, {}, head}, RowStore(k, layer, threads), threads, row, head};
  auto [sum, heads] = v.sharesOfRow();
  // Sequences of padding rows may be anything, but nothing is evicted there.
  Value any = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OGT, heads, d.f32(0));
  d.ifThen(any, [&, sum = sum, heads = heads] {
    v.merge.sequence = k.load(k.buffer(op.getSequences()), {row});
    Value threshold;
    if (!policy.getThresholdField().empty())
      threshold = v.merge.updateThreshold(sum, heads, isFirst);
    d.ifThen(d.ge(v.target(head, d.i32(0)), d.i32(0)), [&] {
      auto [number, count] = v.countTargets();
      sparsity::MergeWeights w = policy.buildWeights(d.b, d.loc, v.share(head), threshold, number);
      d.ifThen(w.merges, [&, count = count] {
        d.ifThen(isFirst, [&] { v.merge.addToCounter(d.i32(1)); });
        auto oneByOne = [&](StringRef pool) {
          d.loop(d.i32(0), count, d.i32(1), [&](Value j) { v.blendRow(pool, v.target(head, j), w); });
        };
        if (layout.isQuantized())
          oneByOne("value");
        else
          v.blendValues(count, w);
        if (policy.mergesKeys())
          oneByOne("key");
      });
    });
  });
  return success();
}

const Template sparse::device::mergeTemplate{whyNot, emit};
