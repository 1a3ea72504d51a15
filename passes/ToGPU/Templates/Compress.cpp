//===-- Compress.cpp - Statistics of slots and the choice of the next victim, a block for each KV head ------------===//
//
// The meaning is that of the linalg lowering (passes/ToLinalg/CacheUpdate.cpp): the slot of the least eviction key, of equal
// ones the oldest token's, which no order of comparisons changes. The mass may be added up here, from scores that attention
// has left.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/BestSlot.h"
#include "passes/ToGPU/Templates/EvictionKey.h"
#include "passes/ToGPU/Templates/MassOfScores.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

/// Slots of a thread whose loads are under way together.
static constexpr int64_t kWarps = 16, kTogether = 4;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
struct HeadCompression {
  DeviceKernel &k;
  Device &d;
  kvcache::CompressOp op;
  LayerBuffers &layer;
  lowering::Emitter e;
  Value row, head, sequence, newest, cap;
  std::optional<ScoreMass> received; // where nobody has added it up

  /// Updates the statistics of the slots that are `inside` (the others may be any slot); gives them as victims when one is
  /// looked for.
  SmallVector<BestSlot> visit(ValueRange slots, ValueRange inside, bool evicts);
};
} // namespace

SmallVector<BestSlot> HeadCompression::visit(ValueRange slots, ValueRange inside, bool evicts) {
  kvcache::LayoutAttr layout = layer.layout;
  SmallVector<llvm::StringMap<Value>> fields(slots.size());
  auto fieldOf = [&](size_t i, StringRef name) {
    if (!fields[i].contains(name))
      fields[i][name] = k.load(layer[name], {sequence, head, slots[i]});
    return fields[i][name];
  };
  // All loads, then all stores.
  bool counts = !op.getMass().empty();
  SmallVector<lowering::Statistic> statistics = counts ? lowering::statisticsOf(layout) : SmallVector<lowering::Statistic>();
  SmallVector<Value> mass, positions;
  for (auto [i, slot] : llvm::enumerate(slots)) {
    if (counts)
      mass.push_back(received ? received->of(slot) : k.load(k.buffer(op.getMass().front()), {row, head, slot}));
    if (evicts)
      positions.push_back(k.load(layer["position"], {sequence, head, slot}));
    for (const lowering::Statistic &statistic : statistics)
      fieldOf(i, statistic.field);
  }
  SmallVector<BestSlot> victims;
  for (size_t i = 0; i < slots.size(); ++i) {
    for (const lowering::Statistic &statistic : statistics) {
      Value old = fieldOf(i, statistic.field);
      sparsity::PolicyAttrInterface policy = statistic.policy;
      Value now = policy.buildStatistic(d.b, d.loc, statistic.index, old, mass[i]);
      if (Value governed = lowering::isGoverned(e, e.toIndex(head), statistic.heads))
        now = d.select(governed, now, old);
      d.ifThen(inside[i], [&] { k.store(now, layer[statistic.field], {sequence, head, slots[i]}); });
      fields[i][statistic.field] = now;
    }
    if (!evicts)
      continue;
    Value key =
        evictionKey(d, layout, head, positions[i], newest, cap, [&](StringRef name) { return fieldOf(i, name); });
    victims.push_back(BestSlot{key, positions[i], slots[i]}.onlyIf(d, inside[i]));
  }
  return victims;
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<kvcache::CompressOp>(headOf(k.ops));
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  // In prefill the first row stands for the sequence.
  int64_t batch = op.getPrefill() ? 1 : k.buffer(op.getPositions()).size(0);
  bool evicts = !op.getPrefill() && layout.isCapped();
  k.grid = {layout.getKvHeads(), batch, 1};
  k.block = {kWarps * kWarp, 1, 1};

  HeadCompression c{k, d, op, layer, lowering::Emitter(d.b, d.loc), d.blockId(1), d.blockId(0), {}, {}, {}, {}};
  Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {c.row}), d.i32(0));
  c.sequence = k.load(k.buffer(op.getSequences()), {c.row});
  c.newest = k.load(k.buffer(op.getPositions()), {c.row});
  if (evicts)
    c.cap = capOf(k, layer, c.sequence, c.head, c.newest);
  Value extent = d.select(active, k.load(layer["count"], {c.sequence, c.head}), d.i32(0));
  for (Operation *before : k.ops)
    if (auto scores = dyn_cast<sparsity::MassOfScoresOp>(before))
      c.received.emplace(k, scores, c.row, c.head);
  std::optional<BestSlots> bests;
  if (evicts)
    bests.emplace(d, kWarps, "victim");
  constexpr int64_t threads = kWarps * kWarp;
  BestSlot best = BestSlot::unpack(d.loop(
      d.threadId(), extent, d.i32(threads * kTogether), BestSlot::none(d).pack(), [&](Value first, ValueRange carried) {
        SmallVector<Value> slots, inside;
        for (int64_t i = 0; i < kTogether; ++i) {
          Value slot = d.add(first, d.i32(i * threads));
          inside.push_back(d.lt(slot, extent));
          slots.push_back(d.select(inside.back(), slot, first));
        }
        BestSlot least = BestSlot::unpack(carried);
        for (const BestSlot &own : c.visit(slots, inside, evicts))
          least = least.orBetter(d, own);
        return least.pack();
      }));
  if (!evicts)
    return success();
  best = bests->ofBlock(best.ofWarp(d));
  Value over = d.lt(c.cap, extent);
  d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] {
    if (!op.getEvicted().empty())
      k.store(d.select(over, best.position, d.i32(-1)), k.results[0], {c.row, c.head});
    d.ifThen(over, [&] {
      k.store(d.i32(-1), layer["position"], {c.sequence, c.head, best.slot});
      k.store(best.slot, layer["victim"], {c.sequence, c.head});
    });
  });
  return success();
}

const Template sparse::device::compressTemplate{whyNot, emit};
