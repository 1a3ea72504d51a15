//===-- Compact.cpp - Cutting a sequence's heads to their caps: choose, gather, place -----------------------------===//
//
// The meaning is that of the linalg lowerings (passes/ToLinalg/Compact.cpp).
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/BlockFold.h"
#include "passes/ToGPU/Templates/ContentFields.h"
#include "passes/ToGPU/Templates/EvictionKey.h"
#include "passes/ToGPU/Templates/RowStore.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/Templates/Threshold.h"
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

//===-- choose: a block for each head -----------------------------------------------------------------------------===//

static constexpr int64_t kWarpsOfHead = 16, kThreadsOfHead = kWarpsOfHead * kWarp;

/// Bytes for a position and a slot of every kept key.
static int64_t listBytes(int64_t cap) { return llvm::alignTo(cap, 4) * 4 * 2; }

static std::string whyNotChoose(plan::KernelOp kernel, sparsity::TargetAttr target) {
  auto op = cast<kvcache::ChooseOp>(headOf(kernel));
  int64_t cap = cast<RankedTensorType>(op.getOrder().getType()).getDimSize(1);
  if (listBytes(cap) + 4096 > target.getSharedMemory())
    return "a cap of " + std::to_string(cap) + " slots doesn't fit in shared memory";
  return "";
}

namespace {
struct HeadChoice {
  DeviceKernel &k;
  Device &d;
  Buffer &keys;
  Value head, extent;
  BlockFold fold;

  /// The sum, or the maximum, of an i32 over the block; contains barriers.
  Value sumOfBlock(Value own);
  Value maxOfBlock(Value own);
  /// How many slots below the extent have a property.
  Value count(function_ref<Value(Value slot)> test);
  /// Greatest t such that at least `wanted` slots have `test(slot, t)`, which is monotone in t.
  Value greatestThreshold(Value wanted, function_ref<Value(Value slot, Value t)> test);
  Value keyOf(Value slot) { return k.load(keys, {head, slot}); }
};
} // namespace

Value HeadChoice::sumOfBlock(Value own) {
  for (int64_t distance = kWarp / 2; distance > 0; distance /= 2)
    own = d.add(own, d.shuffleXor(own, distance));
  return fold(own, [&](Value a, Value c) { return d.add(a, c); });
}

Value HeadChoice::maxOfBlock(Value own) {
  for (int64_t distance = kWarp / 2; distance > 0; distance /= 2)
    own = d.maxS(own, d.shuffleXor(own, distance));
  return fold(own, [&](Value a, Value c) { return d.maxS(a, c); });
}

Value HeadChoice::count(function_ref<Value(Value slot)> test) {
  Value own = d.loop(d.threadId(), extent, d.i32(kThreadsOfHead), d.i32(0), [&](Value slot, ValueRange carried) {
    Value one = arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), test(slot));
    return SmallVector<Value>{d.add(carried[0], one)};
  })[0];
  return sumOfBlock(own);
}

Value HeadChoice::greatestThreshold(Value wanted, function_ref<Value(Value slot, Value t)> test) {
  Value start = d.i32(std::numeric_limits<int32_t>::min());
  return d.loop(d.i32(0), d.i32(32), d.i32(1), start, [&](Value step, ValueRange carried) {
    Value bit = arith::ShLIOp::create(d.b, d.loc, d.i32(1), d.sub(d.i32(31), step));
    Value candidate = d.add(carried[0], bit); // the top bit turns the least integer into 0: unsigned order
    Value reached = count([&](Value slot) { return test(slot, candidate); });
    return SmallVector<Value>{d.select(d.ge(reached, wanted), candidate, carried[0])};
  })[0];
}

static LogicalResult emitChoose(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<kvcache::ChooseOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  Buffer &order = k.results[0], &kept = k.results[1], &keys = k.results[2];
  int64_t cap = order.size(1);
  k.grid = {layout.getKvHeads(), 1, 1};
  k.block = {kThreadsOfHead, 1, 1};
  k.dynamicShared = listBytes(cap);
  Type i32 = d.b.getI32Type();
  Span positions = d.dynamicShared(i32, 0), slots = d.dynamicShared(i32, listBytes(cap) / 2);
  Span listed = d.shared(i32, 1, "listed");

  Value head = d.blockId(0), sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  Value extent = k.load(layer["count"], {sequence, head});
  HeadChoice c{k, d, keys, head, extent, BlockFold(d, i32, kWarpsOfHead, "totals")};
  Value hole = d.ge(k.load(layer["victim"], {sequence, head}), d.i32(0));
  Value live = d.sub(extent, d.select(hole, d.i32(1), d.i32(0)));
  Value last;
  if (layout.getCapOver()) { // An empty head has no tail, and is never over its cap.
    Value tail = d.maxS(k.load(layer["tail"], {sequence, head}), d.i32(0));
    last = k.load(layer["position"], {sequence, head, tail});
  }
  Value headCap = capOf(k, layer, sequence, head, last), keep = d.minS(live, headCap);
  // A head without cap has no victim and is never over its slots, so it is left alone.
  Value acts = d.bitOr(hole, d.lt(headCap, live));
  Value isFirst = d.eq(d.threadId(), d.i32(0));
  d.ifThen(isFirst, [&] { k.store(d.select(acts, keep, d.i32(-1)), kept, {head}); });
  auto positionOf = [&](Value slot) { return k.load(layer["position"], {sequence, head, slot}); };
  Value least = d.i32(std::numeric_limits<int32_t>::min()), threads = d.i32(kThreadsOfHead);
  d.ifThen(acts, [&] {
    Value newest = c.maxOfBlock(d.loop(d.threadId(), extent, threads, d.i32(-1), [&](Value slot, ValueRange best) {
      return SmallVector<Value>{d.maxS(best[0], positionOf(slot))};
    })[0]);
    // Keys in integer order; free slots below all.
    d.loop(d.threadId(), extent, threads, [&](Value slot) {
      Value position = positionOf(slot);
      Value key = evictionKey(d, layout, head, position, newest, headCap, [&](StringRef name) {
        return k.load(layer[name], {sequence, head, slot});
      });
      Value ordered = d.bitXor(orderedKey(d, key), least); // signed
      k.store(d.select(d.ge(position, d.i32(0)), ordered, least), keys, {head, slot});
    });
    d.ifThen(isFirst, [&] { d.store(d.i32(0), listed, d.i32(0)); });
    d.barrier();
    Value threshold = c.greatestThreshold(keep, [&](Value slot, Value t) { return d.ge(c.keyOf(slot), t); });
    Value above = c.count([&](Value slot) { return d.lt(threshold, c.keyOf(slot)); });
    // Of the ties the oldest stay: -position as the second key.
    auto ageOf = [&](Value slot) { return d.sub(d.i32(0), positionOf(slot)); };
    auto isTie = [&](Value slot, Value t) {
      return d.bitAnd(d.eq(c.keyOf(slot), threshold), d.ge(ageOf(slot), t));
    };
    Value youngest = c.greatestThreshold(d.sub(keep, above), isTie);
    // Whoever comes first: the places in the list don't matter.
    d.loop(d.threadId(), extent, threads, [&](Value slot) {
      d.ifThen(d.bitOr(d.lt(threshold, c.keyOf(slot)), isTie(slot, youngest)), [&] {
        Value place = d.atomicAdd(d.i32(1), listed, d.i32(0));
        d.store(positionOf(slot), positions, place);
        d.store(slot, slots, place);
      });
    });
    d.barrier();
    // No two keys have one position: as many are before a key as have lesser ones.
    d.loop(d.threadId(), keep, threads, [&](Value i) {
      Value own = d.load(positions, i);
      Value rank = d.loop(d.i32(0), keep, d.i32(1), d.i32(0), [&](Value j, ValueRange carried) {
        Value before = arith::ExtUIOp::create(d.b, d.loc, i32, d.lt(d.load(positions, j), own));
        return SmallVector<Value>{d.add(carried[0], before)};
      })[0];
      k.store(d.load(slots, i), order, {head, rank});
    });
  });
  return success();
}

const Template sparse::device::chooseTemplate{whyNotChoose, emitChoose};

//===-- gather: a warp for each kept slot -------------------------------------------------------------------------===//

/// In the order of the copies.
static constexpr StringLiteral kPools[] = {"key", "value"};

static std::string always(plan::KernelOp, sparsity::TargetAttr) { return ""; }

static LogicalResult emitGather(DeviceKernel &k) {
  constexpr int64_t kWarps = 8;
  Device &d = k.d;
  auto op = cast<kvcache::GatherOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  MutableArrayRef<Buffer> copies = k.results;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(copies[0].size(1), kWarps)), layout.getKvHeads(), 1};
  k.block = {kWarps * kWarp, 1, 1};

  Value head = d.blockId(1), j = d.add(d.mul(d.blockId(0), d.i32(kWarps)), d.warp());
  Value sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  d.ifThen(d.lt(j, k.load(k.buffer(op.getKept()), {head})), [&] {
    Value slot = k.load(k.buffer(op.getOrder()), {head, j});
    Value page = d.divU(slot, layout.getPage()), lane = d.remU(slot, layout.getPage());
    Value physical = k.load(layer["table"], {sequence, head, page});
    for (auto [pool, copy] : llvm::zip(kPools, copies)) {
      // Codes move as they are, or as what they stand for.
      bool asNumbers = copy.span.element != layout.getElementType();
      d.loop(d.lane(), d.i32(copy.size(2)), d.i32(kWarp), [&, pool = StringRef(pool), &copy = copy](Value channel) {
        Value x = asNumbers ? RowReader(k, layer, pool, {sequence, head, slot, physical, lane})(channel)
                            : k.load(layer[pool], lowering::placeInPool(pool, physical, lane, channel));
        k.store(x, copy, {head, j, channel});
      });
    }
    d.ifThen(d.eq(d.lane(), d.i32(0)), [&] {
      k.store(k.load(layer["position"], {sequence, head, slot}), copies[2], {head, j});
      for (auto [i, name] : llvm::enumerate(lowering::slotFields(layout)))
        k.store(k.load(layer[name], {sequence, head, slot}), copies[3 + i], {head, j});
    });
  });
  return success();
}

const Template sparse::device::gatherTemplate{always, emitGather};

//===-- place: a block for each page ------------------------------------------------------------------------------===//

static LogicalResult emitPlace(DeviceKernel &k) {
  constexpr int64_t kMostThreads = 256;
  Device &d = k.d;
  auto op = cast<kvcache::PlaceOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  SmallVector<Buffer *> copies;
  for (Value slots : op.getSlots())
    copies.push_back(&k.buffer(slots));
  int64_t ofPage = layout.getPage(), widest = std::max(layout.getKeyDim(), layout.getValueDim());
  int64_t threads = std::min<int64_t>(kMostThreads, llvm::alignTo(std::max(widest, ofPage), kWarp));
  k.grid = {layout.getMaxPages(), layout.getKvHeads(), 1};
  k.block = {threads, 1, 1};

  RowStore storeRow(k, layer, threads);
  Value page = d.blockId(0), head = d.blockId(1), sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  Value kept = k.load(k.buffer(op.getKept()), {head}), physical = k.load(layer["table"], {sequence, head, page});
  Value firstSlot = d.mul(page, d.i32(ofPage)), step = d.i32(threads);
  // Nobody reads the old count here; pages that the table has not are empty.
  Value acts = d.bitAnd(d.ge(kept, d.i32(0)), d.ge(physical, d.i32(0)));
  d.ifThen(acts, [&] {
    Value used = d.maxS(d.minS(d.sub(kept, firstSlot), d.i32(ofPage)), d.i32(0));
    d.loop(d.threadId(), d.i32(ofPage), step, [&](Value lane) {
      Value slot = d.add(firstSlot, lane), isKept = d.lt(slot, kept), from = d.select(isKept, slot, d.i32(0));
      Value position = d.select(isKept, k.load(*copies[2], {head, from}), d.i32(-1));
      k.store(position, layer["position"], {sequence, head, slot});
      d.ifThen(isKept, [&] {
        for (auto [i, name] : llvm::enumerate(lowering::slotFields(layout)))
          k.store(k.load(*copies[3 + i], {head, from}), layer[name], {sequence, head, slot});
      });
    });
    d.barrier(); // what merges gets its scales anew
    d.loop(d.i32(0), used, d.i32(1), [&](Value lane) {
      Value j = d.add(firstSlot, lane);
      for (auto [pool, copy] : llvm::zip(kPools, copies)) {
        auto channelOf = [&, copy = copy](Value channel) { return k.load(*copy, {head, j, channel}); };
        if (copy->span.element == layout.getElementType())
          d.loop(d.threadId(), d.i32(copy->size(2)), step, [&, pool = StringRef(pool)](Value channel) {
            k.store(channelOf(channel), layer[pool], lowering::placeInPool(pool, physical, lane, channel));
          });
        else
          storeRow(pool, {sequence, head, j, physical, lane}, channelOf);
      }
    });
    d.barrier();
    d.ifThen(d.lt(d.i32(0), used),
             [&] { rebuildContentFields(k, layer, sequence, head, page, physical, used, threads); });
    d.ifThen(d.bitAnd(d.eq(page, d.i32(0)), d.eq(d.threadId(), d.i32(0))), [&] {
      k.store(kept, layer["count"], {sequence, head});
      k.store(d.i32(-1), layer["victim"], {sequence, head});
      // Slots lie by position now: the newest is the last.
      k.store(d.sub(kept, d.i32(1)), layer["tail"], {sequence, head});
    });
  });
  return success();
}

const Template sparse::device::placeTemplate{always, emitPlace};
