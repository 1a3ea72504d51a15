//===-- AttendMma.cpp - Attention over segments of page lists, on tensor cores ------------------------------------===//
#include "passes/ToGPU/Templates/AttendMma.h"
#include "passes/ToGPU/Templates/LikelyVictims.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/Templates/TileRing.h"
#include "passes/ToGPU/TensorCore.h"
#include "passes/ToLinalg/Lowering.h"

#include <array>

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

SharedQueries::SharedQueries(Device &d, const QueryFragments &fragments) : d(d) {
  int64_t loads = fragments.high.size() / 4;
  words = d.shared(d.b.getI32Type(), 2 * loads * kWarp * 4, "queries");
  auto four = VectorType::get({4}, d.b.getI32Type());
  d.ifThen(d.lt(d.threadId(), d.i32(kWarp)), [&] {
    for (int64_t j = 0; j < loads; ++j)
      for (auto [part, list] : llvm::enumerate(std::array{&fragments.high, &fragments.low}))
        d.store(vector::FromElementsOp::create(d.b, d.loc, four, ArrayRef(*list).slice(4 * j, 4)), words,
                d.mul(d.add(d.threadId(), d.i32((2 * j + part) * kWarp)), d.i32(4)));
  });
}

std::pair<SmallVector<Value>, SmallVector<Value>> SharedQueries::read(int64_t j) const {
  std::pair<SmallVector<Value>, SmallVector<Value>> parts;
  for (auto [part, list] : llvm::enumerate(std::array{&parts.first, &parts.second})) {
    Value at = d.mul(d.add(d.lane(), d.i32((2 * j + part) * kWarp)), d.i32(4));
    Value four = d.loadAgain(words, at, 4);
    for (int64_t i = 0; i < 4; ++i)
      list->push_back(d.element(four, i));
  }
  return parts;
}

//===-- One warp --------------------------------------------------------------------------------------------------===//

MmaState MmaState::empty(Device &d, int64_t valueDim) {
  int64_t groups = llvm::divideCeil(valueDim, kValueChannels);
  return {d.f32(kHidden), d.f32(0), SmallVector<Value>(groups * 8 * 4, d.f32(0)), {}};
}
MmaState MmaState::with(ValueRange packed) const {
  MmaState other{packed[0], packed[1], SmallVector<Value>(packed.slice(2, products.size())), {}};
  if (nearest)
    other.nearest = BestSlot::unpack(packed.drop_front(2 + products.size()));
  return other;
}
SmallVector<Value> MmaState::pack() const {
  SmallVector<Value> packed{top, sum};
  llvm::append_range(packed, products);
  if (nearest)
    llvm::append_range(packed, nearest->pack());
  return packed;
}

MmaAttention::MmaAttention(DeviceKernel &k, PageList &list, int64_t window, double scale, double softcap,
                           SharedQueries queries)
    : k(k), d(k.d), list(list), window(window), scale(scale), softcap(softcap), queries(queries), stream(k.d),
      layout(list.layer.layout), element(productType(layout)), keyLoads(llvm::divideCeil(layout.getKeyDim(), kKeyChannels)),
      valueGroups(llvm::divideCeil(layout.getValueDim(), kValueChannels)),
      loadWords(kLoadChannels * layout.getElementBytes() / 4), scaleWords(layout.isQuantized() ? 4 : 0),
      group(d.divU(d.lane(), 4)),
      quad(d.remU(d.lane(), 4)) {
  for (int64_t i = 0; i < 4; ++i)
    slots.push_back(d.add(d.mul(quad, d.i32(2)), d.i32(i % 2 + 8 * (i / 2))));
}

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

/// Registers [half][load][word].
SmallVector<Value> MmaAttention::loadKeys(TilePlace place) {
  int64_t dk = layout.getKeyDim();
  Buffer &key = list.layer["key"];
  Span keyBase = d.at(key.span, k.offsetOf(key, {place.physical, d.i32(0), d.mul(place.tile, d.i32(kTileSlots))}));
  SmallVector<Value> loaded;
  // One address for a row; the rest are constants of the loads.
  for (int64_t half = 0; half < 2; ++half) {
    Span row = d.at(keyBase, d.mul(d.add(group, d.i32(8 * half)), d.i32(dk)));
    Span own = d.at(row, d.mul(quad, d.i32(kLoadChannels)));
    for (int64_t j = 0; j < keyLoads; ++j) {
      bool isWhole = 4 * (j + 1) <= dk / kLoadChannels;
      Value chunk = isWhole ? Value() : loadIndex(d, quad, 4 * j, 4, dk / kLoadChannels);
      llvm::append_range(loaded, stream(isWhole ? d.pointer(own, d.i32(j * kKeyChannels))
                                                : d.pointer(row, d.mul(chunk, d.i32(kLoadChannels))),
                                        loadWords));
    }
  }
  return loaded;
}

/// Registers [group of 64 channels][slot][word].
SmallVector<Value> MmaAttention::loadValues(TilePlace place) {
  int64_t dv = layout.getValueDim();
  Buffer &value = list.layer["value"];
  Value firstSlot = d.mul(place.tile, d.i32(kTileSlots));
  Span valueBase = d.at(value.span, k.offsetOf(value, {place.physical, firstSlot, d.i32(0)}));
  SmallVector<Value> loaded;
  for (int64_t c = 0; c < valueGroups; ++c) {
    Value chunk = loadIndex(d, group, 8 * c, 8, dv / kLoadChannels);
    Span own = d.at(valueBase, d.add(d.mul(slots[0], d.i32(dv)), d.mul(chunk, d.i32(kLoadChannels))));
    for (int64_t slot : {0, 1, 8, 9})
      llvm::append_range(loaded, stream(d.pointer(own, d.i32(slot * dv)), loadWords));
  }
  return loaded;
}

SmallVector<Value> MmaAttention::loadScales(TilePlace place) {
  SmallVector<Value> loaded;
  if (!layout.isQuantized())
    return loaded;
  Value first = d.add(d.mul(place.logical, d.i32(layout.getPage())), d.mul(place.tile, d.i32(kTileSlots)));
  for (StringRef pool : {"key", "value"})
    for (int64_t i : {0, 2}) {
      Value pair = k.load(list.layer[lowering::scaleOfPool(pool)], {list.sequence, list.kvHead, d.add(first, slots[i])}, 2);
      loaded.push_back(d.bitcast(pair, d.b.getI32Type()));
    }
  return loaded;
}

SmallVector<Value> MmaAttention::scalesOf(ValueRange loaded, StringRef pool) {
  SmallVector<Value> scales;
  for (Value word : loaded.slice(pool == "key" ? 0 : 2, 2)) {
    Value pair = d.toF32(d.bitcast(word, VectorType::get({2}, d.b.getF16Type())));
    scales.append({d.element(pair, 0), d.element(pair, 1)});
  }
  return scales;
}

SmallVector<Value> MmaAttention::unpack(ValueRange loaded) {
  if (!layout.isQuantized())
    return SmallVector<Value>(loaded);
  SmallVector<Value> pairs;
  for (Value word : loaded)
    llvm::append_range(pairs, unpackCodes(d, word, layout.getElementType()));
  return pairs;
}

/// Of this lane's head with its four slots, without scale; two chains of products for each half of the tile.
SmallVector<Value> MmaAttention::scores(ValueRange loadedKeys) {
  SmallVector<Value> keys = unpack(loadedKeys);
  SmallVector<Value> chains[2][2]; // [half][step]
  for (auto &half : chains)
    for (auto &chain : half)
      chain = SmallVector<Value>(4, d.f32(0));
  for (int64_t j = 0; j < keyLoads; ++j) {
    auto [high, low] = queries.read(j);
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t step = 0; step < 2; ++step) {
        ArrayRef<Value> loaded = ArrayRef(keys).slice((half * keyLoads + j) * 4 + 2 * step, 2);
        chains[half][step] = multiply(d, {high[2 * step], low[2 * step], high[2 * step + 1], low[2 * step + 1]}, loaded,
                                      chains[half][step], element);
      }
  }
  SmallVector<Value> sums;
  for (auto &half : chains)
    for (int64_t i = 0; i < 2; ++i)
      sums.push_back(d.addF(d.addF(half[0][i], half[1][i]), d.addF(half[0][i + 2], half[1][i + 2])));
  return sums;
}

SmallVector<Value> MmaAttention::weigh(TilePlace place, ValueRange keys, ValueRange scales, MmaState &state,
                                       SmallVectorImpl<Value> &visible) {
  Value firstSlot = d.mul(place.tile, d.i32(kTileSlots));
  SmallVector<Value> scores = this->scores(keys);
  if (layout.isQuantized())
    for (auto [score, scale] : llvm::zip(scores, scalesOf(scales, "key")))
      score = d.mulF(score, scale);
  SmallVector<Value> positions, places;
  for (Value slot : slots) {
    positions.push_back(list.keyPosition(place.logical, d.add(firstSlot, slot)));
    places.push_back(d.add(d.add(d.mul(place.logical, d.i32(layout.getPage())), firstSlot), slot));
  }
  if (likely)
    state.nearest = likely->compare(keys, scores, places, positions, *state.nearest);
  Value top = state.top;
  for (int64_t i = 0; i < 4; ++i) {
    visible.push_back(list.isVisible(positions[i], window));
    Value score = capScore(d, d.mulF(scores[i], d.f32(scoreFactor(scale, softcap))), softcap);
    scores[i] = d.select(visible[i], score, d.f32(kHidden));
    top = d.maxF(top, scores[i]);
    if (keep)
      keep(places[i], group, storedTop(d, scores[i]));
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
  if (layout.isQuantized()) // what a hidden slot has for a scale may be anything
    for (auto [weight, scale, seen] : llvm::zip(weights, scalesOf(scales, "value"), visible))
      weight = d.select(seen, d.mulF(weight, scale), weight);
  SmallVector<Value> left;
  for (int64_t i = 0; i < 4; i += 2) {
    Value high = pack(d, weights[i], weights[i + 1], element);
    Value rounded = d.toF32(d.bitcast(high, VectorType::get({2}, element)));
    Value low = pack(d, d.subF(weights[i], d.element(rounded, 0)), d.subF(weights[i + 1], d.element(rounded, 1)),
                     element);
    left.append({high, low});
  }
  return left;
}

void MmaAttention::addValues(ValueRange weights, ValueRange values, ArrayRef<Value> visible, MmaState &state) {
  Value hides = d.boolean(false);
  for (Value seen : visible)
    hides = d.bitOr(hides, d.bitXor(seen, d.boolean(true)));
  // A slot that was never written may hold NaN, which no weight of zero hides.
  SmallVector<Value> flat(values);
  flat = d.ifThenElse(
      vote(d, hides),
      [&] {
        SmallVector<Value> next;
        for (auto [index, word] : llvm::enumerate(flat))
          next.push_back(d.select(visible[index / loadWords % 4], word, d.i32(0)));
        return next;
      },
      [&] { return flat; });
  flat = unpack(flat);
  for (int64_t c = 0; c < valueGroups; ++c)
    for (int64_t i = 0; i < 8; ++i) {
      auto word = [&](int64_t slot) { return flat[(c * 4 + slot) * 4 + i / 2]; };
      Value right[] = {joinHalves(d, word(0), word(1), i % 2), joinHalves(d, word(2), word(3), i % 2)};
      Value *sums = &state.products[(c * 8 + i) * 4];
      SmallVector<Value> next = multiply(d, weights, right, ArrayRef<Value>(sums, 4), element);
      llvm::copy(next, sums);
    }
}

MmaState MmaAttention::foldTiles(Value first, Value last, Value step, MmaState state,
                                 function_ref<TilePlace(Value at)> find) {
  auto placeOf = [&](Value at) -> SmallVector<Value> {
    TilePlace place = find(at);
    return {place.logical, place.physical, place.tile};
  };
  using Load = SmallVector<Value> (MmaAttention::*)(TilePlace);
  auto loadIf = [&](Value condition, Load load, ValueRange place, ValueRange otherwise) {
    return d.ifThenElse(
        condition, [&] { return (this->*load)({place[0], place[1], place[2]}); },
        [&] { return SmallVector<Value>(otherwise); });
  };
  int64_t keyRegisters = 2 * keyLoads * loadWords, valueRegisters = 4 * valueGroups * loadWords;
  int64_t loads = 3 + keyRegisters + valueRegisters + scaleWords;
  Value any = d.lt(first, last), zero = d.i32(0);
  SmallVector<Value> place = d.ifThenElse(
      any, [&] { return placeOf(first); }, [&] { return SmallVector<Value>(3, zero); });
  SmallVector<Value> carried(place);
  llvm::append_range(carried, loadIf(any, &MmaAttention::loadKeys, place, SmallVector<Value>(keyRegisters, zero)));
  llvm::append_range(carried, loadIf(any, &MmaAttention::loadValues, place, SmallVector<Value>(valueRegisters, zero)));
  llvm::append_range(carried, loadIf(any, &MmaAttention::loadScales, place, SmallVector<Value>(scaleWords, zero)));
  llvm::append_range(carried, state.pack());
  carried = d.loop(first, last, step, carried, [&](Value at, ValueRange inner) {
    ValueRange here = inner.take_front(3), keys = inner.slice(3, keyRegisters);
    ValueRange values = inner.slice(3 + keyRegisters, valueRegisters);
    ValueRange scales = inner.slice(3 + keyRegisters + valueRegisters, scaleWords);
    MmaState folded = state.with(inner.drop_front(loads));
    Value next = d.add(at, step), hasNext = d.lt(next, last);
    SmallVector<Value> carriedOn = d.ifThenElse(
        hasNext, [&] { return placeOf(next); }, [&] { return SmallVector<Value>(here); });
    SmallVector<Value> visible, nextPlace(carriedOn);
    SmallVector<Value> weights = weigh({here[0], here[1], here[2]}, keys, scales, folded, visible);
    llvm::append_range(carriedOn, loadIf(hasNext, &MmaAttention::loadKeys, nextPlace, keys));
    addValues(weights, values, visible, folded);
    llvm::append_range(carriedOn, loadIf(hasNext, &MmaAttention::loadValues, nextPlace, values));
    llvm::append_range(carriedOn, loadIf(hasNext, &MmaAttention::loadScales, nextPlace, scales));
    llvm::append_range(carriedOn, folded.pack());
    return carriedOn;
  });
  return state.with(ArrayRef(carried).drop_front(loads));
}

MmaState MmaAttention::foldTiles(Value first, Value last, Value step, MmaState state,
                                 function_ref<TilePlace(Value at)> find, TileRing &ring) {
  auto fetch = [&](Value at, Value stage) {
    d.ifThen(d.lt(at, last), [&] { ring.fetch(find(at), stage); });
    ring.commit(); // also for none
  };
  for (int64_t stage = 0; stage < TileRing::kStages; ++stage)
    fetch(d.add(first, d.mul(step, d.i32(stage))), d.i32(stage));
  // Scales take few registers: a tile ahead.
  auto scalesAt = [&](Value at) {
    return d.ifThenElse(
        d.lt(at, last), [&] { return loadScales(find(at)); }, [&] { return SmallVector<Value>(scaleWords, d.i32(0)); });
  };
  SmallVector<Value> carried{d.i32(0), d.i32(0)};
  if (scaleWords > 0)
    llvm::append_range(carried, scalesAt(first));
  llvm::append_range(carried, state.pack());
  carried = d.loop(first, last, step, carried, [&](Value at, ValueRange inner) {
    Value stage = inner[0], round = inner[1];
    ValueRange scales = inner.slice(2, scaleWords);
    MmaState folded = state.with(inner.drop_front(2 + scaleWords));
    SmallVector<Value> nextScales;
    if (scaleWords > 0)
      nextScales = scalesAt(d.add(at, step));
    ring.wait(stage, round);
    SmallVector<Value> keys, values, visible;
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t j = 0; j < keyLoads; ++j)
        llvm::append_range(keys, ring.key(stage, d.add(group, d.i32(8 * half)),
                                          loadIndex(d, quad, 4 * j, 4, layout.getKeyDim() / kLoadChannels)));
    SmallVector<Value> weights = weigh(find(at), keys, scales, folded, visible);
    for (int64_t c = 0; c < valueGroups; ++c)
      for (int64_t slot : {0, 1, 8, 9})
        llvm::append_range(values, ring.value(stage, d.add(slots[0], d.i32(slot)),
                                              loadIndex(d, group, 8 * c, 8, layout.getValueDim() / kLoadChannels)));
    addValues(weights, values, visible, folded);
    d.syncWarp(); // all lanes have read the tile
    fetch(d.add(at, d.mul(step, d.i32(TileRing::kStages))), stage);
    Value next = d.add(stage, d.i32(1)), wraps = d.eq(next, d.i32(TileRing::kStages));
    SmallVector<Value> carriedOn{d.select(wraps, d.i32(0), next), d.select(wraps, d.add(round, d.i32(1)), round)};
    llvm::append_range(carriedOn, nextScales);
    llvm::append_range(carriedOn, folded.pack());
    return carriedOn;
  });
  return state.with(ArrayRef(carried).drop_front(2 + scaleWords));
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
  AttendBlock block{k, heads, dv, kAttendWarps};
  k.grid = {segments * tilesOfHeads, selecting, top.size(0)};
  k.block = {block.warps * kWarp, 1, 1};

  Value segment = d.remU(d.blockId(0), segments), firstHead = d.mul(d.divU(d.blockId(0), segments), d.i32(heads));
  Value head = d.blockId(1), row = d.blockId(2);
  PageList list(k, op.getState(), op.getPositions(), op.getSequences(), selecting, row, head);
  list.take(op.getIndices(), op.getCount());
  Value length = list.segmentLength(op.getSegment(), segments), first = d.mul(segment, length);
  std::optional<LikelyVictims> likely;
  for (Operation *beside : k.ops)
    if (auto nearest = dyn_cast<sparsity::NearestPartOp>(beside))
      likely.emplace(k, nearest, list, groups, block.warps, op->getNumResults());
  // Nobody reads attention's segments past the end of the list.
  Value isThere = d.lt(first, list.pages);
  if (likely)
    d.ifThen(d.bitXor(isThere, d.boolean(true)), [&] { likely->storeNone(segment); });
  d.ifThen(isThere, [&] {
    Value pages = d.sub(d.minS(list.pages, d.add(first, length)), first);
    Value here = d.minS(d.sub(d.i32(groups), firstHead), d.i32(heads));
    QueryFragments queries =
        QueryFragments::load(k, k.buffer(op.getQuery()), row, d.add(d.mul(head, d.i32(groups)), firstHead), here,
                             layout.getKeyDim(), productType(layout));
    if (likely)
      likely->join(queries);
    MmaAttention warp(k, list, int64_t(op.getWindow()), op.getScale().convertToDouble(),
                      op.getSoftcap().convertToDouble(), SharedQueries(d, queries));
    if (!op.getScores().empty())
      warp.keepScores([&](Value slot, Value h, Value score) {
        Value inSegment = d.sub(slot, d.mul(first, d.i32(layout.getPage())));
        d.ifThen(d.lt(h, here), [&] {
          k.store(score, k.results[3], {row, head, segment, inSegment, d.add(firstHead, h)});
        });
      });
    warp.findNearest(likely ? &*likely : nullptr);
    d.barrier(); // the queries are there
    int64_t tiles = MmaAttention::tilesOfPage(layout);
    Value all = d.mul(pages, d.i32(tiles)), warps = d.i32(block.warps);
    // A lane finds the page of one of the warp's next 32 tiles.
    Value stride = d.mul(warps, d.i32(kWarp));
    MmaState state = MmaState::empty(d, dv);
    if (likely)
      state.nearest = BestSlot::none(d);
    state = state.with(d.loop(d.warp(), all, stride, state.pack(), [&](Value base, ValueRange carried) {
      Value own = d.minS(d.add(base, d.mul(d.lane(), warps)), d.sub(all, d.i32(1)));
      Value ownLogical = list.logical(d.add(first, d.divU(own, tiles))), ownPhysical = list.physical(ownLogical);
      Value last = d.minS(all, d.add(base, stride));
      return warp
          .foldTiles(base, last, warps, state.with(carried),
                     [&](Value at) -> TilePlace {
                       Value lane = d.divU(d.sub(at, base), warps);
                       return {d.shuffle(ownLogical, lane), d.shuffle(ownPhysical, lane), d.remU(at, tiles)};
                     })
          .pack();
    }));
    warp.leave(state, block);
    if (likely)
      likely->leave(*state.nearest);
    d.barrier();
    if (likely)
      likely->store(segment);
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
