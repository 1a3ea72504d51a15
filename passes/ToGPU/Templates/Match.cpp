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

/// Blocks of a head: as many as every device with clusters can place, but not more in all than processors, as each
/// block has to find the victim first.
static int64_t blocksOfHead(DeviceKernel &k) {
  constexpr int64_t kMost = 8;
  int64_t heads = k.results[0].size(0) * k.results[0].size(1), blocks = k.target.getClusters() ? kMost : 1;
  while (blocks > 1 && heads * blocks > k.target.getMultiprocessors())
    blocks /= 2;
  return blocks;
}

NearestMatch::NearestMatch(DeviceKernel &k)
    : k(k), d(k.d), blocks(blocksOfHead(k)), ofWarps(d, kWarps, "warp"), ofBlocks(d, 1, "block") {
  k.grid = {blocks, k.results[0].size(1), k.results[0].size(0)};
  k.block = {kWarps * kWarp, 1, 1};
  k.cluster = blocks;
}

Value NearestMatch::warp() { return d.add(d.mul(d.blockId(0), d.i32(kWarps)), d.warp()); }

void NearestMatch::emit(function_ref<BestSlot(HeadMatch &h)> best) {
  HeadMatch h(k);
  h.whereEvicted([&] {
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
      Value draw = h.merge.draw(h.op.getLayer(), h.position);
      h.putTarget(all.slot, d.i32(0));
      h.putShare(h.merge.policy.buildShare(d.b, d.loc, {}, {}, d.subF(d.f32(0), all.key), draw));
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
