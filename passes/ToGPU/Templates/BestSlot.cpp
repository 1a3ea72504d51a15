//===-- BestSlot.cpp - The slot of the least key ------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/BestSlot.h"
#include "passes/ToGPU/ClusterBarrier.h"

#include <limits>

using namespace sparse::device;

BestSlot BestSlot::none(Device &d) {
  return {d.f32(std::numeric_limits<double>::infinity()), d.i32(std::numeric_limits<int32_t>::max()), d.i32(-1)};
}

BestSlot BestSlot::orBetter(Device &d, const BestSlot &other) const {
  Value less = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OLT, other.key, key);
  Value equal = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OEQ, other.key, key);
  Value better = d.bitOr(less, d.bitAnd(equal, d.lt(other.position, position)));
  return {d.select(better, other.key, key), d.select(better, other.position, position),
          d.select(better, other.slot, slot)};
}

BestSlot BestSlot::onlyIf(Device &d, Value condition) const {
  BestSlot other = none(d);
  return {d.select(condition, key, other.key), d.select(condition, position, other.position),
          d.select(condition, slot, other.slot)};
}

BestSlot BestSlot::ofLanes(Device &d, int64_t lanes, int64_t every) const {
  BestSlot best = *this;
  for (int64_t distance = lanes / 2; distance >= every; distance /= 2)
    best = best.orBetter(d, {d.shuffleXor(best.key, distance), d.shuffleXor(best.position, distance),
                             d.shuffleXor(best.slot, distance)});
  return best;
}

BestSlots::BestSlots(Device &d, int64_t warps, StringRef name)
    : d(d), warps(warps), keys(d.shared(d.b.getF32Type(), warps, (name + "_keys").str())),
      positions(d.shared(d.b.getI32Type(), warps, (name + "_positions").str())),
      slots(d.shared(d.b.getI32Type(), warps, (name + "_slots").str())) {}

void BestSlots::put(const BestSlot &best, Value place) {
  d.store(best.key, keys, place);
  d.store(best.position, positions, place);
  d.store(best.slot, slots, place);
}

BestSlot BestSlots::at(Value place) { return {d.load(keys, place), d.load(positions, place), d.load(slots, place)}; }

BestSlot BestSlots::ofRank(Value rank, Value place) {
  auto load = [&](Span span) { return d.load(device::ofBlock(d, span, rank), place); };
  return {load(keys), load(positions), load(slots)};
}

BestSlot BestSlots::ofBlock(const BestSlot &own) {
  d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { put(own, d.warp()); });
  d.barrier();
  return at(d.remU(d.lane(), warps)).ofWarp(d);
}
