//===-- AttendMma.cpp - Attention over segments of page lists, on tensor cores ------------------------------------===//
#include "passes/ToGPU/Templates/AttendMma.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/TensorCore.h"

using namespace sparse;
using namespace sparse::device;

/// Channels that the loads of four lanes, or of eight, cover at once.
static constexpr int64_t kKeyChannels = 4 * kLoadChannels, kValueChannels = 8 * kLoadChannels;

std::string sparse::device::whyNotMma(kvcache::LayoutAttr layout) {
  if (std::string reason = whyNotWideRows(layout); !reason.empty())
    return reason;
  if (layout.getType().isF32())
    return "tensor cores multiply bf16 or f16";
  if (layout.getPage() % kTileSlots != 0)
    return "a page of " + std::to_string(layout.getPage()) + " slots is no multiple of " + std::to_string(kTileSlots);
  for (int64_t dim : {layout.getKeyDim(), layout.getValueDim()})
    if (dim > 128)
      return "a head dimension of " + std::to_string(dim) + " needs more registers than a thread has";
  return "";
}

//===-- Queries ---------------------------------------------------------------------------------------------------===//

QueryFragments QueryFragments::load(DeviceKernel &k, const Buffer &query, Value row, Value firstHead, Value heads,
                                    int64_t dim, Type element, function_ref<Value(Value)> shape) {
  Device &d = k.d;
  Value group = d.divU(d.lane(), 4), quad = d.remU(d.lane(), 4);
  Value isHead = d.lt(group, heads), head = d.add(firstHead, d.select(isHead, group, d.i32(0)));
  QueryFragments fragments;
  for (int64_t j = 0; j < static_cast<int64_t>(llvm::divideCeil(dim, kKeyChannels)); ++j) {
    Value chunk = d.add(quad, d.i32(4 * j)), inside = isHead;
    if ((j + 1) * kKeyChannels > dim) {
      Value exists = d.lt(chunk, d.i32(dim / kLoadChannels));
      inside = d.bitAnd(inside, exists);
      chunk = d.select(exists, chunk, d.i32(0));
    }
    Value channel = d.mul(chunk, d.i32(kLoadChannels));
    Value vector = loadRow(k, query, {row, d.add(d.mul(head, d.i32(dim)), channel)}, kLoadChannels);
    vector = d.select(inside, vector, d.zero(vector.getType()));
    if (shape)
      vector = shape(vector);
    Value high = d.fromF32(vector, element), low = d.fromF32(d.subF(vector, d.toF32(high)), element);
    auto words = VectorType::get({4}, d.b.getI32Type());
    for (auto [value, list] : {std::pair{high, &fragments.high}, std::pair{low, &fragments.low}})
      for (int64_t i = 0; i < 4; ++i)
        list->push_back(d.element(d.bitcast(value, words), i));
  }
  return fragments;
}

//===-- One warp --------------------------------------------------------------------------------------------------===//

MmaState MmaState::empty(Device &d, int64_t valueDim) {
  int64_t groups = llvm::divideCeil(valueDim, kValueChannels);
  return {d.f32(kHidden), d.f32(0), SmallVector<Value>(groups * 8 * 4, d.f32(0))};
}
MmaState MmaState::unpack(ValueRange packed) {
  return {packed[0], packed[1], SmallVector<Value>(packed.drop_front(2))};
}
SmallVector<Value> MmaState::pack() const {
  SmallVector<Value> packed{top, sum};
  llvm::append_range(packed, products);
  return packed;
}

MmaAttention::MmaAttention(DeviceKernel &k, PageList &list, int64_t window, double scale, double softcap,
                           QueryFragments queries)
    : k(k), d(k.d), list(list), window(window), scale(scale), softcap(softcap), queries(std::move(queries)),
      stream(k.d), layout(list.layer.layout), group(d.divU(d.lane(), 4)), quad(d.remU(d.lane(), 4)) {}

/// Which of `limit` loads of a row; past the end the first, whose products nobody reads.
static Value loadIndex(Device &d, Value base, int64_t step, int64_t covered, int64_t limit) {
  Value index = d.add(base, d.i32(step));
  return step + covered <= limit ? index : d.select(d.lt(index, d.i32(limit)), index, d.i32(0));
}

static Value vote(Device &d, Value condition) {
  return NVVM::VoteSyncOp::create(d.b, d.loc, d.b.getI1Type(), d.i32(-1), condition, NVVM::VoteSyncKind::any);
}

/// Halves `half` (0 low, 1 high) of two registers side by side.
static Value joinHalves(Device &d, Value low, Value high, int64_t half) {
  Value selector = d.i32(half == 0 ? 0x5410 : 0x7632);
  return LLVM::CallIntrinsicOp::create(d.b, d.loc, d.b.getI32Type(), d.b.getStringAttr("llvm.nvvm.prmt"),
                                       ValueRange{low, high, selector})
      .getResult(0);
}

void MmaAttention::fold(Value logical, Value physical, Value tile, MmaState &state) {
  int64_t dk = layout.getKeyDim(), dv = layout.getValueDim();
  int64_t keyLoads = llvm::divideCeil(dk, kKeyChannels), valueGroups = llvm::divideCeil(dv, kValueChannels);
  Type element = layout.getType();
  Value firstSlot = d.mul(tile, d.i32(kTileSlots));
  Buffer &key = list.layer["key"], &value = list.layer["value"];

  // All loads of the tile are under way before the first is used.
  SmallVector<SmallVector<Value>> keys, values;
  Span keyBase = d.at(key.span, k.offsetOf(key, {physical, d.i32(0), firstSlot}));
  Span valueBase = d.at(value.span, k.offsetOf(value, {physical, firstSlot, d.i32(0)}));
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t j = 0; j < keyLoads; ++j) {
      Value chunk = loadIndex(d, quad, 4 * j, 4, dk / kLoadChannels);
      Value slot = d.add(group, d.i32(8 * half));
      keys.push_back(
          stream(d.pointer(keyBase, d.add(d.mul(slot, d.i32(dk)), d.mul(chunk, d.i32(kLoadChannels))))));
    }
  SmallVector<Value> slots;
  for (int64_t i = 0; i < 4; ++i)
    slots.push_back(d.add(d.mul(quad, d.i32(2)), d.i32(i % 2 + 8 * (i / 2))));
  for (int64_t c = 0; c < valueGroups; ++c)
    for (Value slot : slots) {
      Value chunk = loadIndex(d, group, 8 * c, 8, dv / kLoadChannels);
      values.push_back(
          stream(d.pointer(valueBase, d.add(d.mul(slot, d.i32(dv)), d.mul(chunk, d.i32(kLoadChannels))))));
    }

  // Two chains of products for each half of the tile.
  SmallVector<Value> scores;
  for (int64_t half = 0; half < 2; ++half) {
    SmallVector<Value> chains[2];
    chains[0] = chains[1] = SmallVector<Value>(4, d.f32(0));
    for (int64_t j = 0; j < keyLoads; ++j)
      for (int64_t step = 0; step < 2; ++step) {
        int64_t at = 4 * j + 2 * step;
        ArrayRef<Value> loaded = keys[half * keyLoads + j];
        chains[step] = multiply(d, {queries.high[at], queries.low[at], queries.high[at + 1], queries.low[at + 1]},
                                {loaded[2 * step], loaded[2 * step + 1]}, chains[step], element);
      }
    for (int64_t i = 0; i < 2; ++i)
      scores.push_back(d.addF(d.addF(chains[0][i], chains[1][i]), d.addF(chains[0][i + 2], chains[1][i + 2])));
  }
  SmallVector<Value> visible;
  Value top = state.top, hides = d.boolean(false);
  for (int64_t i = 0; i < 4; ++i) {
    visible.push_back(list.isVisible(list.keyPosition(logical, d.add(firstSlot, slots[i])), window));
    Value score = capScore(d, d.mulF(scores[i], d.f32(scoreFactor(scale, softcap))), softcap);
    scores[i] = d.select(visible[i], score, d.f32(kHidden));
    top = d.maxF(top, scores[i]);
    hides = d.bitOr(hides, d.bitXor(visible[i], d.boolean(true)));
  }
  top = d.maxF(top, d.shuffleXor(top, 1));
  top = d.maxF(top, d.shuffleXor(top, 2));
  // Old sums shrink where the top grew.
  Value grew = vote(d, arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OGT, top, state.top));
  SmallVector<Value> old{state.sum};
  llvm::append_range(old, state.products);
  SmallVector<Value> shrunk = d.ifThenElse(
      grew,
      [&] {
        Value factor = d.exp2(d.subF(state.top, top));
        SmallVector<Value> next;
        for (Value sum : old)
          next.push_back(d.mulF(sum, factor));
        return next;
      },
      [&] { return old; });
  state.top = top;
  state.sum = shrunk[0];
  state.products.assign(shrunk.begin() + 1, shrunk.end());

  SmallVector<Value> weights;
  for (int64_t i = 0; i < 4; ++i) {
    weights.push_back(d.select(visible[i], d.exp2(d.subF(scores[i], top)), d.f32(0)));
    state.sum = d.addF(state.sum, weights[i]);
  }
  SmallVector<Value> left;
  for (int64_t i = 0; i < 4; i += 2) {
    Value high = pack(d, weights[i], weights[i + 1], element);
    Value rounded = d.toF32(d.bitcast(high, VectorType::get({2}, element)));
    Value low = pack(d, d.subF(weights[i], d.element(rounded, 0)), d.subF(weights[i + 1], d.element(rounded, 1)), element);
    left.append({high, low});
  }
  // A slot that was never written may hold NaN, which no weight of zero hides.
  SmallVector<Value> flat;
  for (ArrayRef<Value> loaded : values)
    llvm::append_range(flat, loaded);
  flat = d.ifThenElse(
      vote(d, hides),
      [&] {
        SmallVector<Value> next;
        for (auto [index, word] : llvm::enumerate(flat))
          next.push_back(d.select(visible[index / 4 % 4], word, d.i32(0)));
        return next;
      },
      [&] { return flat; });
  for (int64_t c = 0; c < valueGroups; ++c)
    for (int64_t i = 0; i < 8; ++i) {
      auto word = [&](int64_t slot) { return flat[(c * 4 + slot) * 4 + i / 2]; };
      Value right[] = {joinHalves(d, word(0), word(1), i % 2), joinHalves(d, word(2), word(3), i % 2)};
      Value *sums = &state.products[(c * 8 + i) * 4];
      SmallVector<Value> next = multiply(d, left, right, ArrayRef<Value>(sums, 4), element);
      llvm::copy(next, sums);
    }
}

void MmaAttention::leave(const MmaState &state, AttendBlock &block) {
  int64_t dv = layout.getValueDim();
  Value sum = d.addF(state.sum, d.shuffleXor(state.sum, 1));
  sum = d.addF(sum, d.shuffleXor(sum, 2));
  d.ifThen(d.lt(group, d.i32(block.heads)), [&] {
    for (int64_t c = 0; c < static_cast<int64_t>(llvm::divideCeil(dv, kValueChannels)); ++c)
      for (int64_t side = 0; side < 2; ++side) {
        SmallVector<Value> channels;
        for (int64_t i = 0; i < 8; ++i) {
          const Value *sums = &state.products[(c * 8 + i) * 4];
          channels.push_back(d.addF(sums[side], sums[side + 2]));
        }
        auto type = VectorType::get({kLoadChannels}, d.b.getF32Type());
        Value chunk = d.add(d.mul(quad, d.i32(2)), d.i32(side + 8 * c));
        Value vector = vector::FromElementsOp::create(d.b, d.loc, type, channels);
        auto put = [&] { block.putValues(group, d.mul(chunk, d.i32(kLoadChannels)), vector); };
        if ((c + 1) * kValueChannels <= dv)
          put();
        else
          d.ifThen(d.lt(chunk, d.i32(dv / kLoadChannels)), put);
      }
    d.ifThen(d.eq(quad, d.i32(0)), [&] { block.putState(group, state.top, sum); });
  });
}

//===-- The kernel of segments ------------------------------------------------------------------------------------===//

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  return whyNotMma(cast<sparsity::AttendPartOp>(headOf(kernel)).getState().getType().getLayout());
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::AttendPartOp>(k.ops.front());
  kvcache::LayoutAttr layout = k.layer(op.getState()).layout;
  Buffer &top = k.results[1]; // [T, Hs, S, G]
  int64_t selecting = top.size(1), segments = top.size(2), groups = top.size(3), dv = layout.getValueDim();
  int64_t heads = std::min<int64_t>(groups, kProductHeads), tilesOfHeads = llvm::divideCeil(groups, heads);
  AttendBlock block{k, heads, dv, AttendBlock::warpsFor(heads, dv)};
  k.grid = {segments * tilesOfHeads, selecting, top.size(0)};
  k.block = {block.warps * kWarp, 1, 1};

  Value segment = d.remU(d.blockId(0), segments), firstHead = d.mul(d.divU(d.blockId(0), segments), d.i32(heads));
  Value head = d.blockId(1), row = d.blockId(2);
  PageList list(k, op.getState(), op.getPositions(), op.getSequences(), selecting, row, head);
  list.take(op.getIndices(), op.getCount());
  Value length = list.segmentLength(op.getSegment(), segments), first = d.mul(segment, length);
  // Nobody reads the segments past the end of the list.
  d.ifThen(d.lt(first, list.pages), [&] {
    Value pages = d.sub(d.minS(list.pages, d.add(first, length)), first);
    Value here = d.minS(d.sub(d.i32(groups), firstHead), d.i32(heads));
    MmaAttention warp(k, list, int64_t(op.getWindow()), op.getScale().convertToDouble(),
                      op.getSoftcap().convertToDouble(),
                      QueryFragments::load(k, k.buffer(op.getQuery()), row,
                                           d.add(d.mul(head, d.i32(groups)), firstHead), here, layout.getKeyDim(),
                                           layout.getType()));
    int64_t tiles = MmaAttention::tilesOfPage(layout);
    Value all = d.mul(pages, d.i32(tiles)), warps = d.i32(block.warps);
    // A lane finds the page of one of the warp's next 32 tiles.
    Value stride = d.mul(warps, d.i32(kWarp));
    MmaState state = MmaState::empty(d, dv);
    state = MmaState::unpack(d.loop(d.warp(), all, stride, state.pack(), [&](Value base, ValueRange carried) {
      Value own = d.minS(d.add(base, d.mul(d.lane(), warps)), d.sub(all, d.i32(1)));
      Value ownLogical = list.logical(d.add(first, d.divU(own, tiles))), ownPhysical = list.physical(ownLogical);
      Value last = d.minS(all, d.add(base, stride));
      return d.loop(base, last, warps, carried, [&](Value at, ValueRange inner) {
        MmaState next = MmaState::unpack(inner);
        Value lane = d.divU(d.sub(at, base), warps);
        warp.fold(d.shuffle(ownLogical, lane), d.shuffle(ownPhysical, lane), d.remU(at, tiles), next);
        return next.pack();
      });
    }));
    warp.leave(state, block);
    d.barrier();
    block.fold([&](Value h, Value channel, Value foldedTop, Value foldedSum, Value values) {
      Value g = d.add(firstHead, h);
      d.ifThen(d.lt(g, d.i32(groups)), [&] {
        k.store(values, k.results[0], {row, head, segment, d.add(d.mul(g, d.i32(dv)), channel)});
        d.ifThen(d.eq(channel, d.i32(0)), [&] {
          k.store(storedTop(d, foldedTop), top, {row, head, segment, g});
          k.store(foldedSum, k.results[2], {row, head, segment, g});
        });
      });
    });
  });
  return success();
}

const Template sparse::device::attendMmaTemplate{whyNot, emit};
