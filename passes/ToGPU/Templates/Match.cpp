//===-- Match.cpp - The targets of the victim of a decode step ----------------------------------------------------===//
#include "passes/ToGPU/Templates/Match.h"
#include "passes/ToGPU/ClusterBarrier.h"
#include "passes/ToLinalg/Merge.h"

using namespace sparse;
using namespace sparse::device;

HeadMatch::HeadMatch(DeviceKernel &k)
    : k(k), d(k.d), op(cast<sparsity::MatchOp>(k.ops.front())), row(d.blockId(2)), head(d.blockId(1)),
      merge{k, k.layer(op.getState()), cast<sparsity::MergePolicyInterface>(op.getPolicy()), {}, head},
      position(k.load(k.buffer(op.getEvicted()), {row, head})) {}

void HeadMatch::whereEvicted(function_ref<void()> find) {
  Value acts = d.bitAnd(d.ge(position, d.i32(0)), merge.governs());
  d.ifThenElse(
      acts,
      [&]() -> SmallVector<Value> {
        merge.sequence = k.load(k.buffer(op.getSequences()), {row});
        extent = k.load(merge.layer["count"], {merge.sequence, head});
        find();
        return {};
      },
      [&]() -> SmallVector<Value> {
        d.ifThen(d.eq(d.blockId(0), d.i32(0)), [&] {
          d.loop(d.threadId(), d.i32(k.results[0].size(2)), d.i32(k.block[0]), [&](Value i) { putTarget(d.i32(-1), i); });
          d.ifThen(d.eq(d.threadId(), d.i32(0)), [&] { putShare(d.f32(0)); });
        });
        return {};
      });
}

/// Whether attention has already compared likely victims.
static bool isProbed(DeviceKernel &k) { return !cast<sparsity::MatchOp>(k.ops.front()).getNearest().empty(); }

/// Blocks of a head: as many as every device with clusters can place, but not more in all than run at once, as each block
/// has to find the victim first. Where few heads search, which all others wait for, two blocks of a processor run at once.
static int64_t placeBlocks(DeviceKernel &k) {
  constexpr int64_t kMost = 8;
  k.blocksOfProcessor = isProbed(k) ? 2 : 0;
  int64_t heads = k.results[0].size(0) * k.results[0].size(1), blocks = k.target.getClusters() ? kMost : 1;
  while (blocks > 1 && heads * blocks > k.target.getMultiprocessors() * std::max<int64_t>(k.blocksOfProcessor, 1))
    blocks /= 2;
  return blocks;
}


NearestMatch::NearestMatch(DeviceKernel &k)
    : k(k), d(k.d), blocks(placeBlocks(k)), ofWarps(d, kWarps, "warp"), ofBlocks(d, 1, "block") {
  k.grid = {blocks, k.results[0].size(1), k.results[0].size(0)};
  k.block = {kWarps * kWarp, 1, 1};
  k.cluster = blocks;
}

Value NearestMatch::warp() { return d.add(d.mul(d.blockId(0), d.i32(kWarps)), d.warp()); }

/// Which of the slots that attention has probed is the victim; -1 for none.
static Value probeOfVictim(HeadMatch &h) {
  Device &d = h.d;
  Value victim = h.victim(), found = d.i32(-1);
  Buffer &probed = h.k.buffer(h.op.getNearest()[0]);
  for (int64_t i = 0; i < probed.size(2); ++i)
    found = d.select(d.eq(h.k.load(probed, {h.row, h.head, d.i32(i)}), victim), d.i32(i), found);
  return found;
}

/// The best of what attention has found for a probe in its segments; by each warp for itself.
static BestSlot bestOfSegments(HeadMatch &h, Value probe) {
  Device &d = h.d;
  Buffer &cosines = h.k.buffer(h.op.getNearest()[1]), &positions = h.k.buffer(h.op.getNearest()[2]);
  Buffer &slots = h.k.buffer(h.op.getNearest()[3]);
  SmallVector<Value> best =
      d.loop(d.lane(), d.i32(cosines.size(2)), d.i32(kWarp), BestSlot::none(d).pack(), [&](Value s, ValueRange carried) {
        SmallVector<Value> at{h.row, h.head, s, probe};
        BestSlot own{d.subF(d.f32(0), h.k.load(cosines, at)), h.k.load(positions, at), h.k.load(slots, at)};
        return BestSlot::unpack(carried).orBetter(d, own).pack();
      });
  return BestSlot::unpack(best).ofWarp(d);
}

void NearestMatch::emit(function_ref<BestSlot(HeadMatch &h)> best) {
  HeadMatch h(k);
  auto put = [&](const BestSlot &found) {
    Value draw = h.merge.draw(h.op.getLayer(), h.position);
    h.putTarget(found.slot, d.i32(0));
    h.putShare(h.merge.policy.buildShare(d.b, d.loc, {}, {}, d.subF(d.f32(0), found.key), draw));
  };
  auto search = [&] {
    BestSlot own = ofWarps.ofBlock(best(h));
    Value isFirst = d.eq(d.threadId(), d.i32(0));
    d.ifThen(isFirst, [&] { ofBlocks.put(own, d.i32(0)); });
    if (blocks > 1) {
      arrive(d);
      waitForCluster(d);
    }
    d.ifThen(d.bitAnd(isFirst, d.eq(d.blockId(0), d.i32(0))), [&] {
      BestSlot all = own;
      for (int64_t rank = 1; rank < blocks; ++rank)
        all = all.orBetter(d, ofBlocks.ofRank(d.i32(rank), d.i32(0)));
      put(all);
    });
  };
  h.whereEvicted([&] {
    if (!isProbed(k))
      return search();
    Value probe = probeOfVictim(h);
    d.ifThenElse(
        d.ge(probe, d.i32(0)),
        [&]() -> SmallVector<Value> {
          d.ifThen(d.bitAnd(d.eq(d.warp(), d.i32(0)), d.eq(d.blockId(0), d.i32(0))), [&] {
            BestSlot found = bestOfSegments(h, probe);
            d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { put(found); });
          });
          return {};
        },
        [&]() -> SmallVector<Value> {
          search();
          return {};
        });
  });
  if (blocks > 1) { // nobody leaves while others read its memory
    arriveOnly(d);
    waitForCluster(d);
  }
}

Span sparse::device::keyOfSlot(HeadMatch &h, Value slot) {
  Value page = h.d.divU(slot, h.merge.layer.layout.getPage());
  return keyInPage(h, h.k.load(h.merge.layer["table"], {h.merge.sequence, h.head, page}), slot);
}

Span sparse::device::keyInPage(HeadMatch &h, Value physical, Value slot) {
  Buffer &keys = h.merge.layer["key"];
  Value lane = h.d.remU(slot, h.merge.layer.layout.getPage());
  return h.d.at(keys.span, h.k.offsetOf(keys, {physical, h.d.i32(0), lane}));
}

Value sparse::device::normOf(Device &d, Value squares) {
  lowering::Emitter e(d.b, d.loc);
  return lowering::merging::norm(e, squares);
}
