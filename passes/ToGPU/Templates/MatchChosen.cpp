//===-- MatchChosen.cpp - The kept slots that the slots a compaction evicts go into -------------------------------===//
//
// The meaning is that of the linalg lowering (passes/ToLinalg/MergeChosen.cpp). Followers: a thread for each slot.
// Nearest: a block for each tile of slots meets tiles of kept keys in shared memory and keeps the best of each slot, so
// that the matrix of similarities never exists.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/BestSlot.h"
#include "passes/ToGPU/Templates/MergeParts.h"
#include "passes/ToGPU/Templates/RowStore.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Merge.h"

#include "llvm/Support/MathExtras.h"

using namespace sparse;
using namespace sparse::device;
using sparsity::MergeTargets;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
struct ChosenMatch {
  DeviceKernel &k;
  Device &d;
  sparsity::MatchChosenOp op;
  HeadMerge merge;
  Value keep, extent; // slots of the head that stay, and all of them; keep -1: the head isn't cut

  ChosenMatch(DeviceKernel &k, Value head)
      : k(k), d(k.d), op(cast<sparsity::MatchChosenOp>(k.ops.front())),
        merge{k, k.layer(op.getState()), cast<sparsity::MergePolicyInterface>(op.getPolicy()),
              k.load(k.buffer(op.getSequences()), {d.i32(0)}), head},
        keep(k.load(k.buffer(op.getKept()), {head})), extent(k.load(merge.layer["count"], {merge.sequence, head})) {}

  Buffer &copy(int64_t i) { return k.buffer(op.getSlots()[i]); }
  Value positionOf(Value slot) { return k.load(merge.layer["position"], {merge.sequence, merge.head, slot}); }
  /// Whether the policy merges in the head.
  Value acts() { return d.bitAnd(d.lt(d.i32(0), keep), merge.governs()); }
  /// Whether a slot below the extent whose token is at `position` is evicted, and the first kept slot after it.
  std::pair<Value, Value> isEvicted(Value position);
  void put(Value slot, Value target, Value share) {
    k.store(target, k.results[0], {merge.head, slot});
    k.store(share, k.results[1], {merge.head, slot});
  }
};
} // namespace

std::pair<Value, Value> ChosenMatch::isEvicted(Value position) {
  Buffer &positions = copy(2);
  int64_t cap = positions.size(1), steps = llvm::Log2_64_Ceil(cap) + 1;
  auto keptAt = [&](Value i) { return k.load(positions, {merge.head, d.minS(i, d.i32(cap - 1))}); };
  Value first = d.loop(d.i32(0), d.i32(steps), d.i32(1), {d.i32(0), keep}, [&](Value, ValueRange range) {
    Value open = d.lt(range[0], range[1]), middle = d.divU(d.add(range[0], range[1]), 2);
    Value before = d.lt(keptAt(middle), position);
    Value low = d.select(d.bitAnd(open, before), d.add(middle, d.i32(1)), range[0]);
    Value high = d.select(d.bitAnd(open, d.bitXor(before, d.boolean(true))), middle, range[1]);
    return SmallVector<Value>{low, high};
  })[0];
  Value stays = d.bitAnd(d.lt(first, keep), d.eq(keptAt(first), position));
  return {d.bitAnd(d.ge(position, d.i32(0)), d.bitXor(stays, d.boolean(true))), first};
}

//===-- Followers -------------------------------------------------------------------------------------------------===//

static constexpr int64_t kThreads = 256;

/// Index of a slot field's copy among the op's `slots`.
static int64_t copyOf(kvcache::LayoutAttr layout, StringRef field) {
  SmallVector<StringRef> all = lowering::slotFields(layout);
  return 3 + (llvm::find(all, field) - all.begin());
}

static SmallVector<Value> shareAmongFollowers(ChosenMatch &m, Value slot, Value position, Value first) {
  Device &d = m.d;
  sparsity::MergePolicyInterface policy = m.merge.policy;
  SmallVector<StringRef> fields = policy.getSlotFields();
  Value last = d.minS(m.keep, d.add(first, d.i32(policy.getTargetCount())));
  SmallVector<Value> sums(fields.size(), d.f32(0)), own, means;
  sums = d.loop(first, last, d.i32(1), sums, [&](Value j, ValueRange in) {
    SmallVector<Value> next;
    for (auto [sum, field] : llvm::zip(in, fields))
      next.push_back(d.addF(sum, m.k.load(m.copy(copyOf(m.merge.layer.layout, field)), {m.merge.head, j})));
    return next;
  });
  lowering::Emitter e(d.b, d.loc);
  Value count = lowering::merging::toFloat(e, d.sub(last, first));
  for (auto [sum, field] : llvm::zip(sums, fields)) {
    own.push_back(m.k.load(m.merge.layer[field], {m.merge.sequence, m.merge.head, slot}));
    means.push_back(d.divF(sum, count));
  }
  Value share = policy.buildShare(d.b, d.loc, own, means, {}, m.merge.draw(m.op.getLayer(), position));
  // Nothing follows the last: no target.
  return {d.select(d.lt(first, m.keep), first, d.i32(-1)), share};
}

static void matchFollowing(DeviceKernel &k) {
  Device &d = k.d;
  int64_t slots = k.results[0].size(1);
  k.grid = {static_cast<int64_t>(llvm::divideCeil(slots, kThreads)), k.results[0].size(0), 1};
  k.block = {kThreads, 1, 1};
  Value slot = d.add(d.mul(d.blockId(0), d.i32(kThreads)), d.threadId());
  ChosenMatch m(k, d.blockId(1));
  d.ifThen(d.lt(slot, d.i32(slots)), [&] {
    SmallVector<Value> none{d.i32(-1), d.f32(0)};
    SmallVector<Value> found = d.ifThenElse(
        d.bitAnd(m.acts(), d.lt(slot, m.extent)),
        [&] {
          Value position = m.positionOf(slot);
          auto [gone, first] = m.isEvicted(position);
          return d.ifThenElse(
              gone, [&, first = first] { return shareAmongFollowers(m, slot, position, first); }, [&] { return none; });
        },
        [&] { return none; });
    m.put(slot, found[0], found[1]);
  });
}

//===-- Nearest ---------------------------------------------------------------------------------------------------===//

/// Slots and kept keys of a tile, channels that are in shared memory at a time, and slots and keys of a thread.
static constexpr int64_t kTile = 64, kChannels = 32, kOfThread = 4;
static constexpr int64_t kLanes = kTile / kOfThread, kTileThreads = kLanes * kLanes;

namespace {
/// A tile of rows by some channels in shared memory, f32; a channel's row is padded against bank conflicts.
struct KeyTile {
  static constexpr int64_t kStride = kTile + 4;

  Device &d;
  Span span;

  KeyTile(Device &d, StringRef name) : d(d), span(d.shared(d.b.getF32Type(), kChannels * kStride, name)) {}
  /// By all threads: channels [first, first + kChannels) of all rows; those past `dim` are 0.
  void fill(Value first, int64_t dim, function_ref<Value(Value row, Value channel)> number);
  /// The rows of one thread in a channel.
  Value load(Value channel, Value group) {
    return d.load(span, d.add(d.mul(channel, d.i32(kStride)), d.mul(group, d.i32(kOfThread))), kOfThread);
  }
};

struct NearestKept {
  ChosenMatch &m;
  DeviceKernel &k;
  Device &d;
  KeyTile slots, kept;
  Span physicals; // of the tile's slots: the page in the pool
  Value firstSlot;
  int64_t dim;

  NearestKept(ChosenMatch &m)
      : m(m), k(m.k), d(m.d), slots(d, "slots"), kept(d, "kept"), physicals(d.shared(d.b.getI32Type(), kTile, "pages")),
        dim(m.merge.layer.layout.getKeyDim()) {}

  void findPages();
  /// One thread's products, [slot * kOfThread + key] and the squares of its keys and its slots.
  struct Products {
    SmallVector<Value> dots, ofKeys, ofSlots;
  };
  Products multiply(Value firstKept, Value slotGroup, Value keyGroup);
};
} // namespace

void KeyTile::fill(Value first, int64_t dim, function_ref<Value(Value row, Value channel)> number) {
  d.loop(d.threadId(), d.i32(kTile * kChannels), d.i32(kTileThreads), [&](Value i) {
    Value row = d.divU(i, kChannels), own = d.remU(i, kChannels), channel = d.add(first, own);
    Value x = d.ifThenElse(
        d.lt(channel, d.i32(dim)), [&]() -> SmallVector<Value> { return {number(row, channel)}; },
        [&]() -> SmallVector<Value> { return {d.f32(0)}; })[0];
    d.store(x, span, d.add(d.mul(own, d.i32(kStride)), row));
  });
}

void NearestKept::findPages() {
  kvcache::LayoutAttr layout = m.merge.layer.layout;
  d.ifThen(d.lt(d.threadId(), d.i32(kTile)), [&] {
    // Slots past the last are compared, too, and forgotten.
    Value slot = d.minS(d.add(firstSlot, d.threadId()), d.sub(m.extent, d.i32(1)));
    Value page = d.divU(slot, layout.getPage());
    d.store(k.load(m.merge.layer["table"], {m.merge.sequence, m.merge.head, page}), physicals, d.threadId());
  });
  d.barrier();
}

NearestKept::Products NearestKept::multiply(Value firstKept, Value slotGroup, Value keyGroup) {
  kvcache::LayoutAttr layout = m.merge.layer.layout;
  Buffer &copies = m.copy(0);
  constexpr int64_t products = kOfThread * kOfThread;
  SmallVector<Value> sums(products + 2 * kOfThread, d.f32(0));
  sums = d.loop(d.i32(0), d.i32(dim), d.i32(kChannels), sums, [&](Value first, ValueRange outer) {
    d.barrier(); // the last channels have been read
    slots.fill(first, dim, [&](Value row, Value channel) {
      Value slot = d.minS(d.add(firstSlot, row), d.sub(m.extent, d.i32(1)));
      SlotPlace place{m.merge.sequence, m.merge.head, slot, d.load(physicals, row), d.remU(slot, layout.getPage())};
      return RowReader(k, m.merge.layer, "key", place)(channel);
    });
    kept.fill(first, dim, [&](Value row, Value channel) {
      Value j = d.minS(d.add(firstKept, row), d.sub(m.keep, d.i32(1)));
      return d.toF32(k.load(copies, {m.merge.head, j, channel}));
    });
    d.barrier();
    return d.loop(d.i32(0), d.i32(kChannels), d.i32(1), outer, [&](Value channel, ValueRange in) {
      Value a = slots.load(channel, slotGroup), b = kept.load(channel, keyGroup);
      SmallVector<Value> next;
      for (int64_t i = 0; i < kOfThread; ++i)
        for (int64_t j = 0; j < kOfThread; ++j)
          next.push_back(d.fma(d.element(a, i), d.element(b, j), in[next.size()]));
      for (Value vector : {b, a})
        for (int64_t i = 0; i < kOfThread; ++i)
          next.push_back(d.fma(d.element(vector, i), d.element(vector, i), in[next.size()]));
      return next;
    });
  });
  ArrayRef<Value> all = sums;
  return {SmallVector<Value>(all.take_front(products)), SmallVector<Value>(all.slice(products, kOfThread)),
          SmallVector<Value>(all.take_back(kOfThread))};
}

/// Lanes of a half warp have the same slots and neighbouring groups of keys.
static void matchNearest(DeviceKernel &k) {
  Device &d = k.d;
  int64_t allSlots = k.results[0].size(1);
  k.grid = {static_cast<int64_t>(llvm::divideCeil(allSlots, kTile)), k.results[0].size(0), 1};
  k.block = {kTileThreads, 1, 1};
  ChosenMatch m(k, d.blockId(1));
  NearestKept nearest(m);
  nearest.firstSlot = d.mul(d.blockId(0), d.i32(kTile));
  lowering::Emitter e(d.b, d.loc);
  auto norm = [&](Value squares) { return lowering::merging::norm(e, squares); };
  Value slotGroup = d.divU(d.threadId(), kLanes), keyGroup = d.remU(d.threadId(), kLanes);
  Value mySlots = d.add(nearest.firstSlot, d.mul(slotGroup, d.i32(kOfThread)));
  Value acts = d.bitAnd(m.acts(), d.lt(nearest.firstSlot, m.extent));
  // Best similarities without the slot's own length, and the slot's squares.
  SmallVector<Value> init;
  for (int64_t i = 0; i < kOfThread; ++i)
    init.append(BestSlot::none(d).pack());
  init.append(kOfThread, d.f32(0));
  SmallVector<Value> found = d.ifThenElse(
      acts,
      [&] {
        nearest.findPages();
        return d.loop(d.i32(0), m.keep, d.i32(kTile), init, [&](Value firstKept, ValueRange in) {
          NearestKept::Products p = nearest.multiply(firstKept, slotGroup, keyGroup);
          SmallVector<Value> next;
          for (int64_t i = 0; i < kOfThread; ++i) {
            BestSlot best = BestSlot::unpack(in.slice(3 * i, 3));
            for (int64_t j = 0; j < kOfThread; ++j) {
              // Kept slots lie by position.
              Value row = d.add(firstKept, d.add(d.mul(keyGroup, d.i32(kOfThread)), d.i32(j)));
              Value cosine = d.divF(p.dots[i * kOfThread + j], norm(p.ofKeys[j]));
              best = best.orBetter(d, BestSlot{d.subF(d.f32(0), cosine), row, row}.onlyIf(d, d.lt(row, m.keep)));
            }
            next.append(best.pack());
          }
          next.append(p.ofSlots);
          return next;
        });
      },
      [&] { return init; });
  for (int64_t i = 0; i < kOfThread; ++i) {
    BestSlot best = BestSlot::unpack(ValueRange(found).slice(3 * i, 3)).ofLanes(d, kLanes);
    Value slot = d.add(mySlots, d.i32(i));
    d.ifThen(d.bitAnd(d.eq(keyGroup, d.i32(0)), d.lt(slot, d.i32(allSlots))), [&] {
      SmallVector<Value> none{d.i32(-1), d.f32(0)};
      SmallVector<Value> answer = d.ifThenElse(
          d.bitAnd(acts, d.lt(slot, m.extent)),
          [&] {
            Value position = m.positionOf(slot), gone = m.isEvicted(position).first;
            Value cosine = d.divF(d.subF(d.f32(0), best.key), norm(found[3 * kOfThread + i]));
            Value draw = m.merge.draw(m.op.getLayer(), position);
            Value share = m.merge.policy.buildShare(d.b, d.loc, {}, {}, cosine, draw);
            return SmallVector<Value>{d.select(gone, best.slot, none[0]), d.select(gone, share, none[1])};
          },
          [&] { return none; });
      m.put(slot, answer[0], answer[1]);
    });
  }
}

static LogicalResult emit(DeviceKernel &k) {
  auto policy = cast<sparsity::MergePolicyInterface>(cast<sparsity::MatchChosenOp>(k.ops.front()).getPolicy());
  if (policy.getTargets() == MergeTargets::Nearest)
    matchNearest(k);
  else
    matchFollowing(k);
  return success();
}

const Template sparse::device::matchChosenTemplate{whyNot, emit};
