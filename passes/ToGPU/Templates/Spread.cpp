//===-- Spread.cpp - How unevenly attention fell on the tokens of a prompt, a block for each KV head --------------===//
//
// The meaning is that of the linalg lowering (passes/ToLinalg/Budgets.cpp); sums are those of the threads, the warps and
// the block, in a fixed order.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/BlockFold.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarps = 32, kThreads = kWarps * kWarp;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
struct HeadSpread {
  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  StringRef field;
  Value sequence, head, extent;
  BlockFold floats, integers;

  Value isLive(Value slot) { return d.ge(k.load(layer["position"], {sequence, head, slot}), d.i32(0)); }
  Value fieldOf(Value slot) { return k.load(layer[field], {sequence, head, slot}); }
  /// Sums over all slots of the head; contains barriers.
  SmallVector<Value> sums(unsigned count, function_ref<SmallVector<Value>(Value slot)> terms);
  Value liveSlots();
};
} // namespace

SmallVector<Value> HeadSpread::sums(unsigned count, function_ref<SmallVector<Value>(Value slot)> terms) {
  SmallVector<Value> zeros(count, d.f32(0)), all;
  SmallVector<Value> own = d.loop(d.threadId(), extent, d.i32(kThreads), zeros, [&](Value slot, ValueRange carried) {
    SmallVector<Value> next;
    for (auto [sum, term] : llvm::zip(carried, terms(slot)))
      next.push_back(d.addF(sum, term));
    return next;
  });
  for (Value sum : own)
    all.push_back(floats(d.warpSum(sum), [&](Value a, Value c) { return d.addF(a, c); }));
  return all;
}

Value HeadSpread::liveSlots() {
  Value own = d.loop(d.threadId(), extent, d.i32(kThreads), d.i32(0), [&](Value slot, ValueRange carried) {
    Value one = arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), isLive(slot));
    return SmallVector<Value>{d.add(carried[0], one)};
  })[0];
  for (int64_t distance = kWarp / 2; distance > 0; distance /= 2)
    own = d.add(own, d.shuffleXor(own, distance));
  return integers(own, [&](Value a, Value c) { return d.add(a, c); });
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::SpreadOp>(k.ops.front());
  auto policy = cast<sparsity::SharedBudgetPolicyInterface>(op.getPolicy());
  LayerBuffers &layer = k.layer(op.getState());
  k.grid = {layer.layout.getKvHeads(), 1, 1};
  k.block = {kThreads, 1, 1};

  lowering::Emitter e(d.b, d.loc);
  Value head = d.blockId(0), sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  Value governed = lowering::isGoverned(e, e.toIndex(head), policy.getHeads());
  Value extent = k.load(layer["count"], {sequence, head});
  if (governed)
    extent = d.select(governed, extent, d.i32(0));
  HeadSpread h{k, d, layer, policy.getSpreadField(), sequence, head, extent,
               BlockFold(d, d.b.getF32Type(), kWarps, "sums"), BlockFold(d, d.b.getI32Type(), kWarps, "counts")};
  Value count = h.liveSlots();
  Value sum = h.sums(1, [&](Value slot) {
    return SmallVector<Value>{d.select(h.isLive(slot), h.fieldOf(slot), d.f32(0))};
  })[0];
  Value mean = d.divF(sum, arith::SIToFPOp::create(d.b, d.loc, d.b.getF32Type(), d.maxS(count, d.i32(1))));
  SmallVector<Value> deviations = h.sums(2, [&](Value slot) {
    Value deviation = d.select(h.isLive(slot), d.subF(h.fieldOf(slot), mean), d.f32(0));
    return SmallVector<Value>{d.mulF(deviation, deviation), deviation};
  });
  Value variance = lowering::unbiasedVariance(e, deviations[0], deviations[1], count);
  if (governed)
    variance = d.select(governed, variance, d.f32(-1));
  d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] { k.store(variance, k.results[0], {head}); });
  return success();
}

const Template sparse::device::spreadTemplate{whyNot, emit};
