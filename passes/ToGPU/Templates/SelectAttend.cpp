//===-- SelectAttend.cpp - Selection, attention and its combination in one launch, a cluster for each list --------===//
//
// Every block of a cluster selects for itself, which costs less than telling the others; block r then attends to segment
// r of the list, and all give their states to the blocks that own the outputs. The list, its segments and the order of all
// additions are those of the separate kernels.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/ClusterBarrier.h"
#include "passes/ToGPU/OneLaunch.h"
#include "passes/ToGPU/Templates/AttendMma.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/Templates/Threshold.h"
#include "passes/ToGPU/Templates/TileRing.h"
#include "passes/ToGPU/TensorCore.h"

using namespace sparse;
using namespace sparse::device;

/// Keys that a thread may hold, and blocks of a cluster that every device can place.
static constexpr int64_t kMostKeys = 64, kMostBlocks = 8;

namespace {
/// The ops of the region.
struct Step {
  sparsity::SelectOp select;
  sparsity::AttendPartOp attend;
  sparsity::CombineOp combine;

  static Step of(ArrayRef<Operation *> ops) {
    Step step;
    for (Operation *op : ops) {
      if (auto select = dyn_cast<sparsity::SelectOp>(op))
        step.select = select;
      if (auto attend = dyn_cast<sparsity::AttendPartOp>(op))
        step.attend = attend;
      if (auto combine = dyn_cast<sparsity::CombineOp>(op))
        step.combine = combine;
    }
    return step;
  }
};
} // namespace

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }

/// Keys of a thread from which on reading them in their place costs more than passing them through shared memory.
static constexpr int64_t kManyKeys = 12, kStagePadding = 4;
/// What all but the tables of pages take of shared memory.
static constexpr int64_t kStaticShared = 48 * 1024;

static int64_t keysOfThread(int64_t pages, int64_t threads) {
  return llvm::alignTo(llvm::divideCeil(pages, threads), 4);
}

namespace {
/// Dynamic shared memory of a block, bytes from its start. Tiles come where the selection has been.
struct BlockMemory {
  int64_t chosen, table, stage, tiles, bytes;

  BlockMemory(int64_t pagesOfSegment, int64_t pages, int64_t threads, int64_t tileBytes) : chosen(0) {
    table = llvm::alignTo(chosen + pagesOfSegment * 8, 16);
    stage = llvm::alignTo(table + pages * 4, 16);
    int64_t keys = keysOfThread(pages, threads);
    tiles = llvm::alignTo(table, 128);
    bytes = std::max(stage + (keys > kManyKeys ? threads * (keys + kStagePadding) * 4 : 0), tiles + tileBytes);
  }
  static BlockMemory of(sparsity::SelectOp select, sparsity::AttendPartOp attend, int64_t threads, TileCopy copies) {
    return BlockMemory(llvm::divideCeil(shapeOf(select.getIndices())[2], shapeOf(attend.getTop())[2]),
                       shapeOf(select.getScores())[2], threads,
                       TileRing::bytes(attend.getState().getType().getLayout(), threads / kWarp, copies));
  }
};

} // namespace

std::string sparse::device::whyNotOneLaunch(sparsity::SelectOp select, sparsity::AttendPartOp attend,
                                            sparsity::TargetAttr target, TileCopy copies) {
  kvcache::LayoutAttr layout = attend.getState().getType().getLayout();
  if (!target.getClusters())
    return "blocks of the device form no clusters";
  if (std::string reason = whyNotMma(layout); !reason.empty())
    return reason;
  ArrayRef<int64_t> parts = shapeOf(attend.getTop()); // [T, Hs, S, G]
  if (attend.getSegment() != 0 || parts[2] > kMostBlocks)
    return "a list has more segments than a cluster has blocks";
  if (parts[3] > kProductHeads)
    return std::to_string(parts[3]) + " query heads are more than the rows of a product";
  constexpr int64_t threads = kWarp * kAttendWarps;
  if (keysOfThread(shapeOf(select.getScores())[2], threads) > kMostKeys)
    return "threads can't hold the keys of " + std::to_string(shapeOf(select.getScores())[2]) + " pages";
  if (BlockMemory::of(select, attend, threads, copies).bytes + kStaticShared > target.getSharedMemory())
    return "a block's shared memory can't hold the table of the pages";
  return "";
}

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr target) {
  SmallVector<Operation *> ops;
  for (Operation &op : *kernel.getBlock())
    ops.push_back(&op);
  Step step = Step::of(ops);
  if (!step.attend || !step.combine)
    return "the kernel only selects";
  auto pinned = kernel->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config");
  return whyNotOneLaunch(step.select, step.attend, target, pinned ? pinned.getCopies() : TileCopy::Async);
}

namespace {
/// Selection by one block.
struct BlockSelection {
  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  Buffer &scores;
  PageList &list;
  int64_t sinks, warps, ofThread;
  Threshold threshold;
  Span chosen, table, stage, totals; // {logical, physical} of the block's segment; pool pages; keys; of each warp
  Value firstPage, used, budget, current;
  SmallVector<Value> keys;

  /// What needs nothing of the launch before: the list's page table.
  void prepare();
  void loadKeys();
  /// Leaves pages [first, first + length) of the list in `chosen`.
  void select(Value first, Value length);

private:
  Value pageAt(int64_t i) { return d.add(firstPage, d.i32(i)); }
  Value isForced(Value page);
  /// Scores of the thread's pages, 0 past the pages in use.
  SmallVector<Value> loadScores();
};
} // namespace

SmallVector<Value> BlockSelection::loadScores() {
  Type f32 = d.b.getF32Type();
  int64_t width = scores.shape.back() % 4 == 0 ? 4 : 1;
  auto load = [&](Value page) -> Value {
    Value zero = d.zero(width == 1 ? f32 : Type(VectorType::get({width}, f32)));
    return d.ifThenElse(
        d.lt(page, used), [&]() -> SmallVector<Value> { return {k.load(scores, {list.row, list.head, page}, width)}; },
        [&]() -> SmallVector<Value> { return {zero}; })[0];
  };
  SmallVector<Value> loaded;
  auto append = [&](Value part) {
    for (int64_t j = 0; j < width; ++j)
      loaded.push_back(width == 1 ? part : d.element(part, j));
  };
  if (ofThread <= kManyKeys || width == 1) {
    for (int64_t i = 0; i < ofThread; i += width)
      append(load(pageAt(i)));
    return loaded;
  }
  // Neighbouring threads read neighbouring scores; each then takes its own from shared memory.
  int64_t chunks = ofThread / width, threads = warps * kWarp;
  SmallVector<Value> parts;
  for (int64_t i = 0; i < chunks; ++i)
    parts.push_back(load(d.mul(d.add(d.threadId(), d.i32(i * threads)), d.i32(width))));
  for (int64_t i = 0; i < chunks; ++i) {
    Value chunk = d.add(d.threadId(), d.i32(i * threads));
    Value place = d.add(d.mul(d.divU(chunk, chunks), d.i32(ofThread + kStagePadding)),
                        d.mul(d.remU(chunk, chunks), d.i32(width)));
    d.store(parts[i], stage, place);
  }
  d.barrier();
  for (int64_t i = 0; i < ofThread; i += width)
    append(d.load(stage, d.add(d.mul(d.threadId(), d.i32(ofThread + kStagePadding)), d.i32(i)), width));
  return loaded;
}

Value BlockSelection::isForced(Value page) {
  Value forced = d.eq(page, current);
  return sinks > 0 ? d.bitOr(forced, d.lt(page, d.i32(sinks))) : forced;
}

void BlockSelection::prepare() {
  threshold.prepare();
  firstPage = d.mul(d.threadId(), d.i32(ofThread));
  Buffer &pages = layer["table"];
  int64_t width = pages.shape.back() % 4 == 0 ? 4 : 1;
  d.loop(d.mul(d.threadId(), d.i32(width)), used, d.i32(warps * kWarp * width), [&](Value page) {
    d.store(k.load(pages, {list.sequence, list.kvHead, page}, width), table, page);
  });
}

void BlockSelection::loadKeys() {
  for (auto [i, score] : llvm::enumerate(loadScores())) {
    Value page = pageAt(i), own = arith::MaxUIOp::create(d.b, d.loc, orderedKey(d, score), d.i32(1));
    Value key = d.select(isForced(page), d.i32(Threshold::kForcedKey), own);
    keys.push_back(d.select(d.lt(page, used), key, d.i32(Threshold::kNoKey)));
  }
}

void BlockSelection::select(Value first, Value length) {
  Value all = d.cmp(arith::CmpIPredicate::sle, used, budget), none = d.i32(0);
  Value forcedSinks = d.minS(d.i32(sinks), used);
  Value hasCurrent = d.bitAnd(d.ge(current, forcedSinks), d.lt(current, used));
  Value forced = d.add(forcedSinks, arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), hasCurrent));
  SmallVector<Value> found = d.ifThenElse(
      all,
      [&]() -> SmallVector<Value> {
        return {none, none};
      },
      [&]() -> SmallVector<Value> {
        Threshold::Result result = threshold.find(keys, d.sub(list.pages, forced));
        return {result.key, result.ties};
      });
  // Of the thread's pages: those above the threshold, and those at it in the upper half. Threshold 0 keeps all in use.
  auto one = [&](Value condition) { return arith::ExtUIOp::create(d.b, d.loc, d.b.getI32Type(), condition); };
  auto isOver = [&](Value key) { return d.cmp(arith::CmpIPredicate::ugt, key, found[0]); };
  auto isTie = [&](Value key) { return d.bitAnd(d.eq(key, found[0]), d.lt(none, found[1])); };
  Value counts = none;
  for (Value key : keys)
    counts = d.add(counts, d.bitOr(one(isOver(key)), d.shl(one(isTie(key)), 16)));
  Value upTo = d.warpScan(counts);
  d.ifThen(d.eq(d.lane(), d.i32(kWarp - 1)), [&] { d.store(upTo, totals, d.warp()); });
  d.barrier();
  Value before = d.sub(upTo, counts);
  for (int64_t w = 0; w + 1 < warps; ++w)
    before = d.add(before, d.select(d.lt(d.i32(w), d.warp()), d.load(totals, d.i32(w)), none));
  Value overBefore = d.bitAnd(before, d.i32(0xFFFF)), tiesBefore = d.shrU(before, 16);
  // Most warps have no page of this block's segment.
  Value place = d.sub(d.add(overBefore, d.minS(tiesBefore, found[1])), first);
  Value upToHere = d.add(place, d.add(d.bitAnd(counts, d.i32(0xFFFF)), d.shrU(counts, 16)));
  d.ifThen(d.bitAnd(d.lt(none, upToHere), d.lt(place, length)), [&] {
    Value taken = place, tiesMet = tiesBefore;
    for (size_t i = 0; i < keys.size(); ++i) {
      Value tie = isTie(keys[i]), kept = d.bitOr(isOver(keys[i]), d.bitAnd(tie, d.lt(tiesMet, found[1])));
      d.ifThen(d.bitAnd(kept, d.cmp(arith::CmpIPredicate::ult, taken, length)), [&] {
        auto pair = VectorType::get({2}, d.b.getI32Type());
        Value both = vector::FromElementsOp::create(d.b, d.loc, pair, ValueRange{pageAt(i), d.load(table, pageAt(i))});
        d.store(both, chosen, d.mul(taken, d.i32(2)));
      });
      taken = d.add(taken, one(kept));
      tiesMet = d.add(tiesMet, one(tie));
    }
  });
  d.barrier();
}

/// Gives the blocks' states to the owners of the outputs, who fold them in the order of the blocks.
static void combine(DeviceKernel &k, AttendBlock &block, int64_t blocks, Value rank,
                    function_ref<void(Value chunk, Value top, Value sum, Value values)> use) {
  Device &d = k.d;
  Type f32 = d.b.getF32Type();
  int64_t chunks = block.heads * block.valueDim / 4, owned = llvm::divideCeil(chunks, blocks);
  Span values = d.shared(f32, blocks * owned * 4, "received");
  Span states = d.shared(f32, blocks * owned * 2, "received_states");
  if (blocks > 1)
    waitForCluster(d); // all blocks have begun
  block.fold([&](Value head, Value channel, Value top, Value sum, Value folded) {
    Value chunk = d.divU(d.add(d.mul(head, d.i32(block.valueDim)), channel), 4), owner = d.divU(chunk, owned);
    Value place = d.add(d.mul(rank, d.i32(owned)), d.remU(chunk, owned));
    auto pair = VectorType::get({2}, f32);
    Value state = vector::FromElementsOp::create(d.b, d.loc, pair, ValueRange{loadedTop(d, storedTop(d, top)), sum});
    d.store(folded, blocks > 1 ? ofBlock(d, values, owner) : values, d.mul(place, d.i32(4)));
    d.store(state, blocks > 1 ? ofBlock(d, states, owner) : states, d.mul(place, d.i32(2)));
  });
  if (blocks > 1) {
    arrive(d);
    waitForCluster(d);
  } else {
    d.barrier();
  }
  Value first = d.mul(rank, d.i32(owned)), last = d.minS(d.add(first, d.i32(owned)), d.i32(chunks));
  d.loop(d.add(first, d.threadId()), last, d.i32(block.threads), [&](Value chunk) {
    SmallVector<Value> tops, sums, parts, there(blocks, d.boolean(true));
    for (int64_t r = 0; r < blocks; ++r) {
      Value place = d.add(d.sub(chunk, first), d.i32(r * owned));
      Value state = d.load(states, d.mul(place, d.i32(2)), 2);
      tops.push_back(d.element(state, 0));
      sums.push_back(d.element(state, 1));
      parts.push_back(d.load(values, d.mul(place, d.i32(4)), 4));
    }
    SmallVector<Value> empty{d.f32(kHidden), d.f32(0), d.zero(VectorType::get({4}, f32))};
    SmallVector<Value> folded = foldStates(d, empty, tops, sums, parts, there);
    use(chunk, folded[0], folded[1], folded[2]);
  });
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  Step step = Step::of(k.ops);
  sparsity::AttendPartOp op = step.attend;
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  ArrayRef<int64_t> shape = shapeOf(op.getTop()); // [T, Hs, S, G]
  int64_t selecting = shape[1], blocks = shape[2], groups = shape[3], dv = layout.getValueDim();
  k.grid = {blocks, selecting, shape[0]};
  constexpr int64_t warps = kAttendWarps, threads = warps * kWarp;
  k.block = {threads, 1, 1};
  k.cluster = blocks;
  BlockMemory memory = BlockMemory::of(step.select, op, threads, k.config.getCopies());
  k.dynamicShared = memory.bytes;

  Type i32 = d.b.getI32Type();
  Value rank = d.blockId(0), head = d.blockId(1), row = d.blockId(2);
  if (blocks > 1)
    arriveOnly(d);
  // The launch before scores; all else was written by launches that it has waited for.
  PageList list(k, op.getState(), op.getPositions(), op.getSequences(), selecting, row, head);
  SelectedPages selected(k, layer, step.select, list.sequence, list.kvHead);
  Value used = selected.used;
  Value current = layout.getSlotted() ? d.divU(k.load(layer["tail"], {list.sequence, list.kvHead}), layout.getPage())
                                      : d.sub(used, d.i32(1));
  list.pages = selected.pages;
  int64_t sinks = cast<sparsity::SelectionPolicyInterface>(step.select.getPolicy()).getSinkPages();
  BlockSelection selection{k, d, layer, k.buffer(step.select.getScores()), list, sinks, warps,
                           keysOfThread(layout.getMaxPages(), threads), Threshold(d, threads),
                           d.dynamicShared(i32, memory.chosen), d.dynamicShared(i32, memory.table),
                           d.dynamicShared(d.b.getF32Type(), memory.stage), d.shared(i32, warps, "totals"), {}, used,
                           selected.budget, current, {}};
  selection.prepare();
  QueryFragments queries =
      QueryFragments::load(k, k.buffer(op.getQuery()), row, d.mul(head, d.i32(groups)), d.i32(groups),
                           layout.getKeyDim(), productType(layout));
  MmaAttention warp(k, list, int64_t(op.getWindow()), op.getScale().convertToDouble(),
                    op.getSoftcap().convertToDouble(),
                    SharedQueries(d, queries));
  d.waitForLaunchBefore();
  d.allowNextLaunch();

  Value length = list.segmentLength(0, blocks), first = d.mul(rank, length);
  selection.loadKeys();
  d.barrier(); // memory is prepared
  selection.select(first, length);

  int64_t tiles = MmaAttention::tilesOfPage(layout);
  Value pages = d.minS(d.sub(list.pages, first), length);
  TileRing ring(k, layer, memory.tiles, warps, k.config.getCopies());
  MmaState state = warp.foldTiles(d.warp(), d.mul(pages, d.i32(tiles)), d.i32(warps), MmaState::empty(d, dv),
                                  [&](Value at) -> TilePlace {
                                    Value pair = d.load(selection.chosen, d.mul(d.divU(at, tiles), d.i32(2)), 2);
                                    return {d.element(pair, 0), d.element(pair, 1), d.remU(at, tiles)};
                                  },
                                  ring);
  AttendBlock block{k, groups, dv, warps};
  warp.leave(state, block);
  d.barrier();
  combine(k, block, blocks, rank, [&](Value chunk, Value top, Value sum, Value values) {
    Value column = d.mul(chunk, d.i32(4));
    k.store(d.divF(values, d.splat(sum, 4)), k.results[0], {row, d.add(d.mul(head, d.i32(groups * dv)), column)});
    d.ifThen(d.eq(d.remU(column, dv), d.i32(0)), [&] {
      Value lse = d.addF(d.mulF(top, d.f32(kNaturalOfBinary)), math::LogOp::create(d.b, d.loc, sum));
      k.store(lse, k.results[1], {row, d.add(d.mul(head, d.i32(groups)), d.divU(column, dv))});
    });
  });
  return success();
}

const Template sparse::device::selectAttendTemplate{whyNot, emit, /*waitsItself=*/true, /*copiesTiles=*/true};
