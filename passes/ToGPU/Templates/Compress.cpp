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

  /// Of a slot: itself as a victim of this step, and as one of the next.
  struct Candidate {
    BestSlot now, next;
  };
  /// Updates the statistics of the slots that are `inside` (the others may be any slot); gives them as victims when one is
  /// looked for.
  SmallVector<Candidate> visit(ValueRange slots, ValueRange inside, bool evicts);
  bool namesLikely() const { return layer.layout.getLikely() > 0; }
};

} // namespace

/// Names slots of least keys of the next step but the victim: of every thread's least the least of each warp, and of these the
/// least. A thread or a warp may have two of them, so the list is no more than likely.
static void nameLikely(HeadCompression &c, BestSlots &ofWarps, const BestSlot &own, Value victim, Value active) {
  Device &d = c.d;
  BestSlot least = own.onlyIf(d, d.cmp(arith::CmpIPredicate::ne, own.slot, victim)).ofWarp(d);
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { ofWarps.put(least, d.warp()); });
  d.barrier();
  // A row of padding has the sequence of another row.
  d.ifThen(d.bitAnd(d.eq(d.warp(), d.i32(0)), active), [&] {
    BestSlot ofWarp = ofWarps.at(d.remU(d.lane(), kWarps));
    for (int64_t i = 0; i < c.layer.layout.getLikely(); ++i) {
      BestSlot next = ofWarp.ofLanes(d, kWarps);
      d.ifThen(d.eq(d.lane(), d.i32(0)), [&] {
        c.k.store(next.slot, c.layer[kvcache::kLikelyField], {c.sequence, c.head, d.i32(i)});
      });
      ofWarp = ofWarp.onlyIf(d, d.cmp(arith::CmpIPredicate::ne, ofWarp.slot, next.slot));
    }
  });
}

SmallVector<HeadCompression::Candidate> HeadCompression::visit(ValueRange slots, ValueRange inside, bool evicts) {
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
  SmallVector<Candidate> victims;
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
    auto asOf = [&](Value newest) {
      Value key =
          evictionKey(d, layout, head, positions[i], newest, cap, [&](StringRef name) { return fieldOf(i, name); });
      return BestSlot{key, positions[i], slots[i]}.onlyIf(d, inside[i]);
    };
    BestSlot now = asOf(newest);
    victims.push_back({now, namesLikely() ? asOf(d.add(newest, d.i32(1))) : now});
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
  std::optional<BestSlots> bests, likely;
  if (evicts)
    bests.emplace(d, kWarps, "victim");
  bool namesLikely = evicts && c.namesLikely();
  if (namesLikely)
    likely.emplace(d, kWarps, "likely");
  constexpr int64_t threads = kWarps * kWarp;
  SmallVector<Value> none = BestSlot::none(d).pack();
  if (namesLikely)
    llvm::append_range(none, BestSlot::none(d).pack());
  SmallVector<Value> found = d.loop(
      d.threadId(), extent, d.i32(threads * kTogether), none, [&](Value first, ValueRange carried) {
        SmallVector<Value> slots, inside;
        for (int64_t i = 0; i < kTogether; ++i) {
          Value slot = d.add(first, d.i32(i * threads));
          inside.push_back(d.lt(slot, extent));
          slots.push_back(d.select(inside.back(), slot, first));
        }
        BestSlot least = BestSlot::unpack(carried.take_front(3));
        BestSlot next = namesLikely ? BestSlot::unpack(carried.drop_front(3)) : BestSlot::none(d);
        for (const HeadCompression::Candidate &own : c.visit(slots, inside, evicts)) {
          least = least.orBetter(d, own.now);
          if (namesLikely)
            next = next.orBetter(d, own.next);
        }
        SmallVector<Value> packed = least.pack();
        if (namesLikely)
          llvm::append_range(packed, next.pack());
        return packed;
      });
  if (!evicts)
    return success();
  BestSlot best = bests->ofBlock(BestSlot::unpack(ArrayRef(found).take_front(3)).ofWarp(d));
  Value over = d.lt(c.cap, extent);
  if (namesLikely)
    nameLikely(c, *likely, BestSlot::unpack(ArrayRef(found).drop_front(3)), d.select(over, best.slot, d.i32(-1)),
               active);
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
