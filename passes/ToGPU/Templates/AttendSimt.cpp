//===-- AttendSimt.cpp - Attention over segments of page lists, a warp for each page ------------------------------===//
//
// A block takes one segment of one list and some of its query heads; its warps take the pages in turn. Lanes share rows of
// keys and values (RowShare), so a score stays with the lanes that weigh the value of the same slot. Each warp folds its
// pages by online softmax; the block folds its warps in their order. What is added to what depends on the length of the
// list alone.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/AttendBlock.h"
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/RowShare.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

/// Floats of queries and of sums that a lane may keep in registers, and slots whose loads are in flight.
static constexpr int64_t kMostFloats = 64, kMostLoads = 8;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  if (llvm::any_of(*kernel.getBlock(), llvm::IsaPred<sparsity::NearestPartOp>))
    return "the nearest keys are found by tensor cores";
  return whyNotWideRows(cast<sparsity::AttendPartOp>(headOf(kernel)).getState().getType().getLayout());
}

namespace {
struct WarpAttention {
  DeviceKernel &k;
  Device &d;
  PageList &list;
  RowShare share;
  int64_t heads, page, window, keyLoads, valueLoads;
  double softcap;
  SmallVector<Value> queries; // [head][load], scaled to powers of two (unless softcap)
  std::function<void(Value slot, int64_t head, Value score)> keep; // of slots of the list's pages, natural; may be null

  /// Folds one page into { top, sum, values } (AttendState, values as [head][load]).
  void fold(Value i, AttendState &state);

private:
  void foldRows(Value logical, Value physical, int64_t firstStep, int64_t steps, AttendState &state);
};
} // namespace

/// Steps [firstStep, firstStep + steps) of the page, `share.rows` slots each.
void WarpAttention::foldRows(Value logical, Value physical, int64_t firstStep, int64_t steps, AttendState &state) {
  Type f32 = d.b.getF32Type();
  auto vector = VectorType::get({share.width}, f32);
  SmallVector<Value> slots, visible, values, keyScales, valueScales;
  SmallVector<SmallVector<Value>> keys(steps);
  for (int64_t u = 0; u < steps; ++u) {
    Value slot = d.add(share.row(d), d.i32((firstStep + u) * share.rows));
    bool isWhole = (firstStep + u + 1) * share.rows <= page;
    Value inside = isWhole ? Value() : d.lt(slot, d.i32(page));
    slots.push_back(isWhole ? slot : d.select(inside, slot, d.i32(0)));
    Value seen = list.isVisible(list.keyPosition(logical, slots[u]), window);
    visible.push_back(isWhole ? seen : d.bitAnd(seen, inside));
    // Keys are [page id, channel, slot] to the indices, whatever the layout in memory.
    Span key = d.at(list.layer["key"].span, k.offsetOf(list.layer["key"], {physical, d.i32(0), slots[u]}));
    for (int64_t j = 0; j < keyLoads; ++j)
      keys[u].push_back(d.loadConstant(key, share.channel(d, j), share.width));
    keyScales.push_back(list.scale("key", logical, slots[u]));
    valueScales.push_back(list.scale("value", logical, slots[u]));
  }
  for (int64_t u = 0; u < steps; ++u)
    for (int64_t j = 0; j < valueLoads; ++j) {
      Value value = k.loadConstant(list.layer["value"], {physical, slots[u], share.channel(d, j)}, share.width);
      // A slot that was never written may hold NaN, which no weight of zero hides.
      values.push_back(d.select(visible[u], value, d.zero(value.getType())));
    }

  for (int64_t h = 0; h < heads; ++h) {
    SmallVector<Value> scores;
    Value top = state.top[h];
    for (int64_t u = 0; u < steps; ++u) {
      Value sums = d.zero(vector);
      for (int64_t j = 0; j < keyLoads; ++j)
        sums = d.fma(d.toF32(keys[u][j]), queries[h * keyLoads + j], sums);
      Value score = d.warpSum(d.sumOf(sums), share.lanes);
      if (keyScales[u])
        score = d.mulF(score, keyScales[u]);
      scores.push_back(d.select(visible[u], capScore(d, score, softcap), d.f32(kHidden)));
      top = d.maxF(top, scores[u]);
      if (keep) {
        bool isWhole = (firstStep + u + 1) * share.rows <= page;
        Value own = d.add(share.row(d), d.i32((firstStep + u) * share.rows));
        Value writes = d.eq(d.remU(d.lane(), share.lanes), d.i32(0));
        if (!isWhole)
          writes = d.bitAnd(writes, d.lt(own, d.i32(page)));
        d.ifThen(writes, [&] { keep(d.add(d.mul(logical, d.i32(page)), own), h, storedTop(d, scores[u])); });
      }
    }
    // Over the warp's rows.
    for (int64_t distance = share.lanes; distance < kWarp; distance *= 2)
      top = d.maxF(top, d.shuffleXor(top, distance));
    Value correction = d.exp2(d.subF(state.top[h], top));
    state.top[h] = top;
    state.sum[h] = d.mulF(state.sum[h], correction);
    for (int64_t j = 0; j < valueLoads; ++j)
      state.values[h * valueLoads + j] = d.mulF(state.values[h * valueLoads + j], d.splat(correction, share.width));
    for (int64_t u = 0; u < steps; ++u) {
      Value weight = d.select(visible[u], d.exp2(d.subF(scores[u], top)), d.f32(0));
      state.sum[h] = d.addF(state.sum[h], weight);
      if (valueScales[u]) // what a hidden slot has for a scale may be anything
        weight = d.select(visible[u], d.mulF(weight, valueScales[u]), weight);
      for (int64_t j = 0; j < valueLoads; ++j)
        state.values[h * valueLoads + j] = d.fma(d.splat(weight, share.width), d.toF32(values[u * valueLoads + j]),
                                                 state.values[h * valueLoads + j]);
    }
  }
}

void WarpAttention::fold(Value i, AttendState &state) {
  Value logical = list.logical(i), physical = list.physical(logical);
  int64_t steps = llvm::divideCeil(page, share.rows);
  int64_t together = std::max<int64_t>(1, kMostLoads / std::max(keyLoads, valueLoads));
  for (int64_t step = 0; step < steps; step += together)
    foldRows(logical, physical, step, std::min(together, steps - step), state);
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::AttendPartOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  int64_t dk = layout.getKeyDim(), dv = layout.getValueDim();
  Buffer &top = k.results[1]; // [T, Hs, S, G]
  int64_t selecting = top.size(1), segments = top.size(2), groups = top.size(3);
  RowShare share = RowShare::over({dk, dv}, layout.getElementType());
  int64_t keyLoads = share.loads(dk), valueLoads = share.loads(dv);
  int64_t heads = std::min<int64_t>(groups, 8);
  while (groups % heads != 0 || (heads > 1 && heads * std::max(keyLoads, valueLoads) * share.width > kMostFloats))
    --heads;
  AttendBlock block{k, heads, dv, AttendBlock::warpsFor(heads, dv)};
  k.grid = {segments * (groups / heads), selecting, top.size(0)};
  k.block = {block.warps * kWarp, 1, 1};

  Value segment = d.remU(d.blockId(0), segments), firstHead = d.mul(d.divU(d.blockId(0), segments), d.i32(heads));
  Value head = d.blockId(1), row = d.blockId(2);
  PageList list(k, op.getState(), op.getPositions(), op.getSequences(), selecting, row, head);
  list.take(op.getIndices(), op.getCount());
  Value length = list.segmentLength(op.getSegment(), segments), first = d.mul(segment, length);
  // Nobody reads the segments past the end of the list.
  d.ifThen(d.lt(first, list.pages), [&] {
    Value last = d.minS(list.pages, d.add(first, length));
    double softcap = op.getSoftcap().convertToDouble();
    WarpAttention warp{k, d, list, share, heads, layout.getPage(), int64_t(op.getWindow()), keyLoads, valueLoads,
                       softcap, {}, {}};
    if (!op.getScores().empty())
      warp.keep = [&](Value slot, int64_t h, Value score) {
        Value inSegment = d.sub(slot, d.mul(first, d.i32(layout.getPage())));
        k.store(score, k.results[3], {row, head, segment, inSegment, d.add(firstHead, d.i32(h))});
      };
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t j = 0; j < keyLoads; ++j) {
        Value column = d.add(d.mul(d.add(d.mul(head, d.i32(groups)), d.add(firstHead, d.i32(h))), d.i32(dk)),
                             share.channel(d, j));
        Value query = loadRow(k, k.buffer(op.getQuery()), {row, column}, share.width);
        warp.queries.push_back(
            d.mulF(query, d.splat(d.f32(scoreFactor(op.getScale().convertToDouble(), softcap)), share.width)));
      }
    AttendState state = AttendState::empty(d, heads, heads * valueLoads, share.width);
    state = AttendState::unpack(d.loop(d.add(first, d.warp()), last, d.i32(block.warps), state.pack(),
                                       [&](Value i, ValueRange carried) {
                                         AttendState next = AttendState::unpack(carried, heads);
                                         warp.fold(i, next);
                                         return next.pack();
                                       }),
                                heads);
    // The lanes of a channel add up: tops are the warp's already.
    for (int64_t distance = share.lanes; distance < kWarp; distance *= 2)
      for (Value &sum : llvm::concat<Value>(state.sum, state.values))
        sum = d.addF(sum, shuffleEach(d, sum, distance));
    d.ifThen(d.lt(d.lane(), d.i32(share.lanes)), [&] {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t j = 0; j < valueLoads; ++j)
          block.putValues(d.i32(h), share.channel(d, j), state.values[h * valueLoads + j]);
        d.ifThen(d.eq(d.lane(), d.i32(0)), [&] { block.putState(d.i32(h), state.top[h], state.sum[h]); });
      }
    });
    d.barrier();
    block.fold([&](Value h, Value channel, Value foldedTop, Value foldedSum, Value values) {
      Value g = d.add(firstHead, h);
      k.store(values, k.results[0], {row, head, segment, d.add(d.mul(g, d.i32(dv)), channel)});
      d.ifThen(d.eq(channel, d.i32(0)), [&] {
        k.store(storedTop(d, foldedTop), top, {row, head, segment, g});
        k.store(foldedSum, k.results[2], {row, head, segment, g});
      });
    });
  });
  return success();
}

const Template sparse::device::attendSimtTemplate{whyNot, emit};
