//===-- PromptBlock.cpp - A block's view of the rows of a prompt and of the cache's tiles -------------------------===//
#include "passes/ToGPU/Templates/PromptBlock.h"
#include "passes/ToGPU/AsyncCopy.h"
#include "passes/ToGPU/TensorCore.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

/// Elements of a 16-byte chunk.
static constexpr int64_t kChunk = 8;

std::string sparse::device::whyNotPrompt(kvcache::LayoutAttr layout, Value query, double softcap) {
  if (!layout.getType().isBF16() && !layout.getType().isF16())
    return "tensor cores multiply bf16 and f16, not f32, in this form";
  if (layout.getKeyDim() % 32 != 0 || layout.getValueDim() % 16 != 0 || layout.getKeyDim() > 256)
    return "head dimensions must be multiples of 32 (keys, at most 256) and 16 (values)";
  if (!layout.getKeysBySlot())
    return "keys must lie slot by slot";
  if (softcap != 0)
    return "scores with a soft cap are not supported";
  if (cast<RankedTensorType>(query.getType()).getDimSize(0) % kRowsOfWarp != 0)
    return "the chunk is no multiple of 16 rows";
  return "";
}

PromptBlock::PromptBlock(DeviceKernel &k, Value state, Value query, Value positions, Value sequences, int64_t window,
                         int64_t warps)
    : k(k), d(k.d), layer(k.layer(state)), layout(layer.layout), query(k.buffer(query)), positions(k.buffer(positions)),
      sequences(k.buffer(sequences)), window(window), warps(warps), keyTile{layout.getKeyDim()},
      valueTile{layout.getValueDim()}, element(productType(layout)), lane(d.lane()), inGroup(d.remU(lane, 4)),
      group(d.divU(lane, 4)) {
  sequence = k.load(this->sequences, {d.i32(0)});
}

void PromptBlock::locateRows(Value first) {
  firstRow = first;
  for (unsigned i = 0; i < 2; ++i) {
    row[i] = d.add(firstRow, d.add(group, d.i32(8 * i)));
    position[i] = k.load(positions, {row[i]});
  }
}

SmallVector<Value> PromptBlock::loadQuery(Value head) {
  SmallVector<Value> fragments;
  for (int64_t step = 0; step < layout.getKeyDim() / 16; ++step)
    for (unsigned half = 0; half < 2; ++half)
      for (unsigned i = 0; i < 2; ++i) {
        Value channel = d.add(d.mul(inGroup, d.i32(2)), d.i32(16 * step + 8 * half));
        Value pair = d.toF32(k.load(query, {row[i], d.add(d.mul(head, d.i32(layout.getKeyDim())), channel)}, 2));
        fragments.push_back(pack(d, d.element(pair, 0), d.element(pair, 1), element));
      }
  return fragments;
}

/// The chunks of a tile that are this thread's; `inside` is null where all threads have one.
void PromptBlock::forChunks(const Tile &shape, function_ref<void(Value index, Value inside)> use) {
  int64_t threads = warps * kWarp, total = kSlotsOfTile * shape.width / kChunk;
  for (int64_t done = 0; done < total; done += threads) {
    Value index = d.add(d.threadId(), d.i32(done));
    use(index, done + threads <= total ? Value() : d.lt(index, d.i32(total)));
  }
}

/// Element of its pool where chunk `index` of a tile begins.
Value PromptBlock::sourceOf(const Tile &shape, StringRef pool, Value tile, Value index) {
  int64_t chunks = shape.width / kChunk;
  Value slot = d.add(d.mul(tile, d.i32(kSlotsOfTile)), d.divU(index, chunks));
  slot = d.minS(slot, d.sub(slots, d.i32(1)));
  Value page = d.divU(slot, layout.getPage()), inPage = d.remU(slot, layout.getPage());
  Value physical = k.load(layer["table"], {sequence, kvHead, page});
  Value channel = d.mul(d.remU(index, chunks), d.i32(kChunk));
  return k.offsetOf(layer[pool], lowering::placeInPool(pool, physical, inPage, channel));
}

Value PromptBlock::targetOf(const Tile &shape, Value stage, Value index) {
  int64_t chunks = shape.width / kChunk;
  Value row = d.mul(d.divU(index, chunks), d.i32(shape.stride()));
  return d.add(d.mul(stage, d.i32(shape.elements())), d.add(row, d.mul(d.remU(index, chunks), d.i32(kChunk))));
}

void PromptBlock::copyTile(const Tile &shape, Span target, StringRef pool, Value tile, Value stage) {
  forChunks(shape, [&](Value index, Value inside) {
    auto copy = [&] {
      copyAsync(d, d.pointer(target, targetOf(shape, stage, index)),
                d.pointer(layer[pool].span, sourceOf(shape, pool, tile, index)));
    };
    if (inside)
      d.ifThen(inside, copy);
    else
      copy();
  });
}

int64_t PromptBlock::wordsOf(const Tile &shape) {
  return 2 * llvm::divideCeil(kSlotsOfTile * shape.width / kChunk, warps * kWarp);
}

SmallVector<Value> PromptBlock::loadTile(const Tile &shape, StringRef pool, Value tile) {
  SmallVector<Value> words;
  Span codes{layer[pool].span.base, d.b.getI8Type()};
  forChunks(shape, [&](Value index, Value inside) {
    Value safe = inside ? d.select(inside, index, d.i32(0)) : index;
    Value chunk = d.load(codes, sourceOf(shape, pool, tile, safe), kChunk);
    Value pair = d.bitcast(chunk, VectorType::get({2}, d.b.getI32Type()));
    words.append({d.element(pair, 0), d.element(pair, 1)});
  });
  return words;
}

void PromptBlock::storeTile(const Tile &shape, Span target, ValueRange loaded, Value stage) {
  auto four = VectorType::get({4}, d.b.getI32Type());
  forChunks(shape, [&](Value index, Value inside) {
    SmallVector<Value> pairs = unpackCodes(d, loaded[0], layout.getElementType());
    llvm::append_range(pairs, unpackCodes(d, loaded[1], layout.getElementType()));
    loaded = loaded.drop_front(2);
    auto store = [&] {
      d.store(vector::FromElementsOp::create(d.b, d.loc, four, pairs),
              {d.pointer(target, targetOf(shape, stage, index)), d.b.getI32Type()}, d.i32(0));
    };
    if (inside)
      d.ifThen(inside, store);
    else
      store();
  });
}

SmallVector<Value> PromptBlock::scaled(StringRef pool, Value tile, ValueRange values) {
  SmallVector<Value> out(values);
  if (!layout.isQuantized())
    return out;
  Value first = d.add(d.mul(tile, d.i32(kSlotsOfTile)), d.mul(inGroup, d.i32(2)));
  for (int64_t block = 0; block < kSlotsOfTile / 8; ++block) {
    Value slot = d.add(first, d.i32(8 * block));
    Value at = d.minS(slot, d.i32(layout.getMaxSlots() - 2));
    Value pair = d.toF32(k.load(layer[lowering::scaleOfPool(pool)], {sequence, kvHead, at}, 2));
    for (int64_t j = 0; j < 2; ++j) {
      Value scale = d.select(d.lt(d.add(slot, d.i32(j)), slots), d.element(pair, j), d.f32(0));
      for (int64_t i = 0; i < 2; ++i)
        out[block * 4 + i * 2 + j] = d.mulF(out[block * 4 + i * 2 + j], scale);
    }
  }
  return out;
}

SmallVector<Value> PromptBlock::scores(ArrayRef<Value> query, Value stage) {
  SmallVector<Value> out;
  Value keyRow = d.remU(lane, 8), matrix = d.divU(lane, 8);
  Value mine = d.add(d.mul(stage, d.i32(keyTile.elements())),
                     d.add(d.mul(keyRow, d.i32(keyTile.stride())), d.mul(matrix, d.i32(kChunk))));
  Span base = d.at(keys, mine);
  for (int64_t block = 0; block < kSlotsOfTile / 8; ++block) {
    SmallVector<Value> sum(4, d.f32(0));
    for (int64_t quad = 0; quad < layout.getKeyDim() / 32; ++quad) {
      SmallVector<Value> key =
          loadMatrices(d, d.pointer(base, d.i32(block * 8 * keyTile.stride() + quad * 32)), 4, /*transposed=*/false);
      for (int64_t step = 0; step < 2; ++step)
        sum = multiply(d, query.slice((quad * 2 + step) * 4, 4), ArrayRef(key).slice(step * 2, 2), sum, element);
    }
    llvm::append_range(out, sum);
  }
  return out;
}

Value PromptBlock::visible(unsigned i, Value slot, Value keyPosition) {
  Value seen = d.bitAnd(d.lt(slot, slots), d.ge(position[i], keyPosition));
  if (layout.getSlotted())
    seen = d.bitAnd(seen, d.ge(keyPosition, d.i32(0)));
  if (window >= 0)
    seen = d.bitAnd(seen, d.ge(d.i32(window), d.sub(position[i], keyPosition)));
  lowering::Emitter e(d.b, d.loc);
  if (Value policy = lowering::isVisible(e, layout, e.toIndex(kvHead), position[i], keyPosition))
    seen = d.bitAnd(seen, policy);
  return seen;
}

SmallVector<Value> PromptBlock::hide(Value tile, ValueRange scores) {
  auto masked = [&]() -> SmallVector<Value> {
    SmallVector<Value> out;
    for (int64_t block = 0; block < kSlotsOfTile / 8; ++block) {
      std::array<Value, 2> slot, keyPosition;
      for (int64_t j = 0; j < 2; ++j) {
        slot[j] = d.add(d.mul(tile, d.i32(kSlotsOfTile)), d.add(d.mul(inGroup, d.i32(2)), d.i32(block * 8 + j)));
        keyPosition[j] = slot[j];
        if (layout.getSlotted())
          keyPosition[j] = k.load(layer["position"], {sequence, kvHead, d.minS(slot[j], d.sub(slots, d.i32(1)))});
      }
      for (unsigned i = 0; i < 2; ++i)
        for (unsigned j = 0; j < 2; ++j)
          out.push_back(d.select(visible(i, slot[j], keyPosition[j]), scores[block * 4 + i * 2 + j],
                                 d.f32(kHiddenScore)));
    }
    return out;
  };
  bool policy = llvm::any_of(layout.getPolicies(), [](Attribute a) { return isa<sparsity::KVPolicyInterface>(a); });
  if (layout.getSlotted() || window >= 0 || policy)
    return masked();
  // A tile that ends before the warp's first row hides nothing.
  Value firstPosition = k.load(positions, {firstRow});
  Value end = d.mul(d.add(tile, d.i32(1)), d.i32(kSlotsOfTile));
  Value reaches = d.cmp(arith::CmpIPredicate::sgt, end, d.minS(firstPosition, slots));
  return d.ifThenElse(reaches, masked, [&] { return SmallVector<Value>(scores.begin(), scores.end()); });
}
