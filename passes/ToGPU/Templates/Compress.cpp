//===-- Compress.cpp - Statistics of slots and the choice of the next victim, a block for each KV head ------------===//
//
// The meaning is that of the linalg lowering (passes/ToLinalg/CacheUpdate.cpp): the slot of the least eviction key, of equal
// ones the oldest token's, which no order of comparisons changes. The mass may be added up here, from scores that attention
// has left.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/EvictionKey.h"
#include "passes/ToGPU/Templates/MassOfScores.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

/// Slots of a thread whose loads are under way together.
static constexpr int64_t kWarps = 16, kTogether = 4;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
/// The best slot so far: its key (f32), the position of its token, and itself.
struct Victim {
  Value key, position, slot;

  static Victim none(Device &d) {
    return {d.f32(std::numeric_limits<double>::infinity()), d.i32(std::numeric_limits<int32_t>::max()), d.i32(-1)};
  }
  SmallVector<Value> pack() const { return {key, position, slot}; }
  static Victim unpack(ValueRange packed) { return {packed[0], packed[1], packed[2]}; }

  Victim orBetter(Device &d, const Victim &other) const {
    Value less = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OLT, other.key, key);
    Value equal = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OEQ, other.key, key);
    Value better = d.bitOr(less, d.bitAnd(equal, d.lt(other.position, position)));
    return {d.select(better, other.key, key), d.select(better, other.position, position),
            d.select(better, other.slot, slot)};
  }
};

struct HeadCompression {
  DeviceKernel &k;
  Device &d;
  kvcache::CompressOp op;
  LayerBuffers &layer;
  lowering::Emitter e;
  Value row, head, sequence, newest;
  std::optional<ScoreMass> received; // where nobody has added it up

  /// Updates the statistics of the slots that are `inside` (the others may be any slot); gives them as victims when one is
  /// looked for.
  SmallVector<Victim> visit(ValueRange slots, ValueRange inside, bool evicts);
  /// The best of the block's, in its first warp.
  Victim reduce(Victim own);
};
} // namespace

SmallVector<Victim> HeadCompression::visit(ValueRange slots, ValueRange inside, bool evicts) {
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
  SmallVector<Victim> victims;
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
    Value key = evictionKey(d, layout, head, positions[i], newest, [&](StringRef name) { return fieldOf(i, name); });
    Victim none = Victim::none(d);
    victims.push_back({d.select(inside[i], key, none.key), d.select(inside[i], positions[i], none.position),
                       d.select(inside[i], slots[i], none.slot)});
  }
  return victims;
}

Victim HeadCompression::reduce(Victim own) {
  Type f32 = d.b.getF32Type(), i32 = d.b.getI32Type();
  auto ofWarp = [&](Victim best) {
    for (int64_t distance = kWarp / 2; distance > 0; distance /= 2)
      best = best.orBetter(d, {d.shuffleXor(best.key, distance), d.shuffleXor(best.position, distance),
                               d.shuffleXor(best.slot, distance)});
    return best;
  };
  Span keys = d.shared(f32, kWarps, "keys"), positions = d.shared(i32, kWarps, "positions"),
       slots = d.shared(i32, kWarps, "slots");
  Victim best = ofWarp(own);
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] {
    d.store(best.key, keys, d.warp());
    d.store(best.position, positions, d.warp());
    d.store(best.slot, slots, d.warp());
  });
  d.barrier();
  Value lane = d.remU(d.lane(), kWarps);
  return ofWarp({d.load(keys, lane), d.load(positions, lane), d.load(slots, lane)});
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

  HeadCompression c{k, d, op, layer, lowering::Emitter(d.b, d.loc), d.blockId(1), d.blockId(0), {}, {}, {}};
  Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {c.row}), d.i32(0));
  c.sequence = k.load(k.buffer(op.getSequences()), {c.row});
  c.newest = k.load(k.buffer(op.getPositions()), {c.row});
  Value extent = d.select(active, k.load(layer["count"], {c.sequence, c.head}), d.i32(0));
  for (Operation *before : k.ops)
    if (auto scores = dyn_cast<sparsity::MassOfScoresOp>(before))
      c.received.emplace(k, scores, c.row, c.head);
  constexpr int64_t threads = kWarps * kWarp;
  Victim best = Victim::unpack(d.loop(
      d.threadId(), extent, d.i32(threads * kTogether), Victim::none(d).pack(), [&](Value first, ValueRange carried) {
        SmallVector<Value> slots, inside;
        for (int64_t i = 0; i < kTogether; ++i) {
          Value slot = d.add(first, d.i32(i * threads));
          inside.push_back(d.lt(slot, extent));
          slots.push_back(d.select(inside.back(), slot, first));
        }
        Victim least = Victim::unpack(carried);
        for (const Victim &own : c.visit(slots, inside, evicts))
          least = least.orBetter(d, own);
        return least.pack();
      }));
  if (!evicts)
    return success();
  best = c.reduce(best);
  Value cap = c.e.toI32(lowering::capOf(c.e, layout, c.e.toIndex(c.head), c.newest));
  Value over = d.lt(cap, extent);
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
