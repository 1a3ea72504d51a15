//===-- SelectSimt.cpp - The best pages of a list of any length, a block for each list ----------------------------===//
//
// Radix selection: a digit of the threshold at a time from the top, by a histogram of the keys that agree with the digits
// so far. Then the pages above the threshold, and as many at it as still fit, are written in ascending order. Histograms
// count; nothing depends on the order in which threads arrive.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Loops.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostThreads = 1024, kDigitBits = 8, kBins = 1 << kDigitBits;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  for (Operation &op : kernel.getBlock()->without_terminator())
    if (isa<sparsity::AttendPartOp>(op))
      return "the kernel attends, too";
  return "";
}

namespace {
struct SelectBlock {
  DeviceKernel &k;
  Device &d;
  Buffer &scores;
  int64_t threads, sinks;
  Value row, head, used, current;
  Span histogram, found, totals;

  Value key(Value page);
  /// { digits of the threshold so far, keys still to take among those that agree with them } after one more digit.
  SmallVector<Value> nextDigit(int64_t shift, Value prefix, Value need);
  void compact(Value threshold, Value ties, function_ref<void(Value place, Value page)> use);
};
} // namespace

/// The score in unsigned integer order; pages that are always kept above all. As in the linalg lowering.
Value SelectBlock::key(Value page) {
  lowering::Emitter e(d.b, d.loc);
  Value forced = d.eq(page, current);
  if (sinks > 0)
    forced = d.bitOr(forced, d.lt(page, d.i32(sinks)));
  Value score = k.load(scores, {row, head, page});
  Value ordered = d.select(forced, d.i32(std::numeric_limits<int32_t>::max()), e.ordered(score));
  return d.bitXor(ordered, d.i32(std::numeric_limits<int32_t>::min()));
}

SmallVector<Value> SelectBlock::nextDigit(int64_t shift, Value prefix, Value need) {
  Value thread = d.threadId();
  d.loop(thread, d.i32(kBins), d.i32(threads), [&](Value bin) { d.store(d.i32(0), histogram, bin); });
  d.barrier();
  d.loop(thread, used, d.i32(threads), [&](Value page) {
    Value own = key(page);
    Value agrees = shift + kDigitBits >= 32
                       ? d.boolean(true)
                       : d.eq(d.shrU(own, shift + kDigitBits), d.shrU(prefix, shift + kDigitBits));
    Value digit = d.bitAnd(d.shrU(own, shift), d.i32(kBins - 1));
    d.ifThen(agrees, [&] { d.atomicAdd(d.i32(1), histogram, digit); });
  });
  d.barrier();
  // The first warp looks from the highest digit down for the one at which enough keys are reached.
  d.ifThen(d.lt(thread, d.i32(kWarp)), [&] {
    constexpr int64_t kOfLane = kBins / kWarp;
    Value highest = d.sub(d.i32(kBins - 1), d.mul(thread, d.i32(kOfLane)));
    SmallVector<Value> counts;
    Value sum = d.i32(0);
    for (int64_t i = 0; i < kOfLane; ++i) {
      counts.push_back(d.load(histogram, d.sub(highest, d.i32(i))));
      sum = d.add(sum, counts[i]);
    }
    Value before = d.sub(d.warpScan(sum), sum);
    for (int64_t i = 0; i < kOfLane; ++i) {
      Value after = d.add(before, counts[i]);
      d.ifThen(d.bitAnd(d.lt(before, need), d.ge(after, need)), [&] {
        d.store(d.bitOr(prefix, d.shl(d.sub(highest, d.i32(i)), shift)), found, d.i32(0));
        d.store(d.sub(need, before), found, d.i32(1));
      });
      before = after;
    }
  });
  d.barrier();
  return {d.load(found, d.i32(0)), d.load(found, d.i32(1))};
}

/// Calls `use` for each page with a key above the threshold, and for the first `ties` at it, with its place among them.
void SelectBlock::compact(Value threshold, Value ties, function_ref<void(Value, Value)> use) {
  using arith::CmpIPredicate;
  int64_t warps = threads / kWarp;
  Value thread = d.threadId(), below = d.sub(arith::ShLIOp::create(d.b, d.loc, d.i32(1), d.lane()), d.i32(1));
  // Carried: pages kept and ties met before the chunk.
  d.loop(d.i32(0), used, d.i32(threads), {d.i32(0), d.i32(0)}, [&](Value chunk, ValueRange carried) {
    Value page = d.add(chunk, thread), isUsed = d.lt(page, used);
    Value own = key(d.select(isUsed, page, d.i32(0)));
    Value over = d.bitAnd(isUsed, d.cmp(CmpIPredicate::ugt, own, threshold));
    Value tie = d.bitAnd(isUsed, d.eq(own, threshold));
    Value overs = d.ballot(over), tied = d.ballot(tie);
    d.barrier(); // the totals of the chunk before are read
    d.ifThen(d.eq(d.lane(), d.i32(0)), [&] {
      d.store(d.popCount(overs), totals, d.warp());
      d.store(d.popCount(tied), totals, d.add(d.warp(), d.i32(warps)));
    });
    d.barrier();
    Value overBefore = d.popCount(d.bitAnd(overs, below)), tiesBefore = d.popCount(d.bitAnd(tied, below));
    Value overAll = d.i32(0), tiesAll = d.i32(0);
    for (int64_t w = 0; w < warps; ++w) {
      Value isBefore = d.lt(d.i32(w), d.warp());
      Value o = d.load(totals, d.i32(w)), t = d.load(totals, d.i32(warps + w));
      overBefore = d.add(overBefore, d.select(isBefore, o, d.i32(0)));
      tiesBefore = d.add(tiesBefore, d.select(isBefore, t, d.i32(0)));
      overAll = d.add(overAll, o);
      tiesAll = d.add(tiesAll, t);
    }
    Value tiesMet = d.add(carried[1], tiesBefore);
    Value kept = d.bitOr(over, d.bitAnd(tie, d.lt(tiesMet, ties)));
    Value place = d.add(d.add(carried[0], overBefore), d.minS(tiesMet, ties));
    d.ifThen(kept, [&] { use(place, page); });
    return SmallVector<Value>{d.add(carried[0], overAll), d.add(carried[1], tiesAll)};
  });
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::SelectOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  Buffer &scores = k.buffer(op.getScores()), &indices = k.results[0]; // [T, Hs, pages], [T, Hs, budget]
  int64_t selecting = scores.size(1);
  int64_t threads = std::min<int64_t>(kMostThreads, llvm::alignTo(scores.size(2), kWarp));
  k.grid = {selecting, scores.size(0), 1};
  k.block = {threads, 1, 1};

  Value head = d.blockId(0), row = d.blockId(1), kvHead = d.divU(head, selecting / layout.getKvHeads());
  Value sequence = k.load(k.buffer(op.getSequences()), {row});
  SelectedPages selected(k, layer, op, sequence, kvHead);
  Value used = selected.used, kept = selected.pages;
  // The page that holds the current token: the last one, or with reused slots that of the newest slot.
  Value current = layout.getSlotted() ? d.divU(k.load(layer["tail"], {sequence, kvHead}), layout.getPage())
                                      : d.sub(used, d.i32(1));
  Type i32 = d.b.getI32Type();
  int64_t sinks = cast<sparsity::SelectionPolicyInterface>(op.getPolicy()).getSinkPages();
  SelectBlock block{k,    d,    scores, threads, sinks, row, head, used, current, d.shared(i32, kBins, "histogram"),
                    d.shared(i32, 2, "found"), d.shared(i32, 2 * threads / kWarp, "totals")};
  Value thread = d.threadId();
  d.ifThen(d.eq(thread, d.i32(0)), [&] { k.store(kept, k.results[1], {row, head}); });
  auto selectSome = [&]() -> SmallVector<Value> {
    SmallVector<Value> state{d.i32(0), kept};
    for (int64_t shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits)
      state = block.nextDigit(shift, state[0], state[1]);
    block.compact(state[0], state[1], [&](Value place, Value page) { k.store(page, indices, {row, head, place}); });
    return {};
  };
  auto takeAll = [&]() -> SmallVector<Value> {
    d.loop(thread, used, d.i32(threads), [&](Value page) { k.store(page, indices, {row, head, page}); });
    return {};
  };
  d.ifThenElse(d.lt(selected.budget, used), selectSome, takeAll);
  return success();
}

const Template sparse::device::selectSimtTemplate{whyNot, emit};
