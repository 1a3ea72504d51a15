//===-- AttendPrefill.cpp - Causal attention of a prompt's rows on tensor cores -----------------------------------===//
//
// A block takes one query head and up to 128 rows, a warp 16 of them. It walks the slots of the cache in tiles of 64: keys
// and values of the next tile are copied while this one is multiplied; scores stay in registers, become weights by online
// softmax in powers of two, and are the left operand of the second product (T. Dao, FlashAttention-2, arXiv 2307.08691).
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/AsyncCopy.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/TensorCore.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kRowsOfWarp = 16, kMostWarps = 8, kSlotsOfTile = 64, kStages = 2;
/// Elements of a 16-byte chunk, and what a row in shared memory is longer: an odd number of chunks has no bank conflicts.
static constexpr int64_t kChunk = 8, kPadding = 8;
/// Score of a hidden slot, and the least that a row's largest score counts as: their difference is a weight of 0.
static constexpr double kHidden = -1e30, kLeastTop = -1e29;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto attend = cast<sparsity::AttendOp>(headOf(kernel));
  kvcache::LayoutAttr layout = attend.getState().getType().getLayout();
  if (!attend.getPrefill() || attend.getIndices())
    return "it is for the rows of a prompt over the whole cache";
  if (!layout.getType().isBF16() && !layout.getType().isF16())
    return "tensor cores multiply bf16 and f16, not f32, in this form";
  if (layout.getKeyDim() % 32 != 0 || layout.getValueDim() % 16 != 0 || layout.getKeyDim() > 256)
    return "head dimensions must be multiples of 32 (keys, at most 256) and 16 (values)";
  if (!layout.getKeysBySlot())
    return "keys must lie slot by slot";
  if (attend.getSoftcap().convertToDouble() != 0)
    return "scores with a soft cap are not supported";
  if (cast<RankedTensorType>(attend.getQuery().getType()).getDimSize(0) % kRowsOfWarp != 0)
    return "the chunk is no multiple of 16 rows";
  return "";
}

namespace {

/// Keys or values of one tile in shared memory.
struct Tile {
  int64_t width; // elements of a slot
  int64_t stride() const { return width + kPadding; }
  int64_t elements() const { return kSlotsOfTile * stride(); }
};

class PrefillAttention {
public:
  PrefillAttention(DeviceKernel &k, sparsity::AttendOp op)
      : k(k), d(k.d), op(op), layer(k.layer(op.getState())), layout(layer.layout), keyTile{layout.getKeyDim()},
        valueTile{layout.getValueDim()}, element(layout.getType()) {}

  void emit();

private:
  using Row = std::array<Value, 2>; // of a lane: rows g and g + 8 of its warp
  struct Sums {
    SmallVector<Value> out; // 4 of every 8 channels
    Row top, weight;        // the largest score so far; the sum of weights, of this lane's slots alone
  };

  void plan();
  void locate();
  void copyTile(Value tile, Value stage);
  SmallVector<Value> scores(Value stage);
  SmallVector<Value> hide(Value tile, ValueRange scores);
  Value visible(Row position, unsigned row, Value slot, Value keyPosition);
  void softmax(SmallVectorImpl<Value> &scores, Sums &sums);
  void addValues(ArrayRef<Value> weights, Value stage, Sums &sums);
  void store(Sums &sums);
  Value maxOfQuad(Value value);
  Value sumOfQuad(Value value);

  DeviceKernel &k;
  Device &d;
  sparsity::AttendOp op;
  LayerBuffers &layer;
  kvcache::LayoutAttr layout;
  Tile keyTile, valueTile;
  Type element;

  int64_t warps = 1, heads = 1, group = 1;
  Span keys, values;                           // shared, all stages
  Value head, kvHead, sequence, firstRow;      // firstRow: of the warp
  Value lane, inGroup, group4;                 // lane % 4 and lane / 4
  Row row, position;
  Value slots, firstTile, tiles;               // slots that count; tiles [firstTile, tiles)
  SmallVector<Value> query;                    // fragments, 4 of every 16 channels
};

} // namespace

Value PrefillAttention::maxOfQuad(Value value) {
  return d.maxF(d.maxF(value, d.shuffleXor(value, 1)), d.maxF(d.shuffleXor(value, 2), d.shuffleXor(value, 3)));
}
Value PrefillAttention::sumOfQuad(Value value) {
  value = d.addF(value, d.shuffleXor(value, 1));
  return d.addF(value, d.shuffleXor(value, 2));
}

/// Grid and shared memory.
void PrefillAttention::plan() {
  Buffer &input = k.buffer(op.getQuery());
  int64_t rows = input.size(0);
  heads = input.size(1) / layout.getKeyDim();
  group = heads / layout.getKvHeads();
  warps = std::min(kMostWarps, rows / kRowsOfWarp);
  while (rows / kRowsOfWarp % warps != 0)
    --warps;
  // The last rows see most slots: they start first.
  k.grid = {heads, rows / (warps * kRowsOfWarp), 1};
  k.block = {warps * kWarp, 1, 1};
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  int64_t keyBytes = kStages * keyTile.elements() * bytes;
  k.dynamicShared = keyBytes + kStages * valueTile.elements() * bytes;
  keys = d.dynamicShared(element, 0);
  values = d.dynamicShared(element, keyBytes);
}

/// Which rows and slots are this warp's.
void PrefillAttention::locate() {
  head = d.blockId(0);
  kvHead = d.divU(head, group);
  sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  lane = d.lane();
  inGroup = d.remU(lane, 4);
  group4 = d.divU(lane, 4);
  Value tileOfRows = d.sub(d.i32(k.grid[1] - 1), d.blockId(1));
  Value first = d.mul(tileOfRows, d.i32(warps * kRowsOfWarp));
  firstRow = d.add(first, d.mul(d.warp(), d.i32(kRowsOfWarp)));
  Buffer &positions = k.buffer(op.getPositions());
  for (unsigned i = 0; i < 2; ++i) {
    row[i] = d.add(firstRow, d.add(group4, d.i32(8 * i)));
    position[i] = k.load(positions, {row[i]});
  }
  // Positions of a prompt's rows are consecutive.
  slots = k.load(layer["count"], {sequence, kvHead});
  if (!layout.getSlotted()) {
    Value last = k.load(positions, {d.add(first, d.i32(warps * kRowsOfWarp - 1))});
    slots = d.minS(slots, d.add(last, d.i32(1)));
  }
  tiles = d.ceilDivU(slots, d.i32(kSlotsOfTile));
  firstTile = d.i32(0);
  if (int64_t window = op.getWindow(); window >= 0 && !layout.getSlotted()) {
    Value oldest = d.maxS(d.sub(k.load(positions, {first}), d.i32(window)), d.i32(0));
    firstTile = d.divU(oldest, kSlotsOfTile);
  }
  Buffer &input = k.buffer(op.getQuery());
  for (int64_t step = 0; step < layout.getKeyDim() / 16; ++step)
    for (unsigned half = 0; half < 2; ++half)
      for (unsigned i = 0; i < 2; ++i) {
        Value channel = d.add(d.mul(inGroup, d.i32(2)), d.i32(16 * step + 8 * half));
        Value pair = d.toF32(k.load(input, {row[i], d.add(d.mul(head, d.i32(layout.getKeyDim())), channel)}, 2));
        query.push_back(pack(d, d.element(pair, 0), d.element(pair, 1), element));
      }
}

/// Starts the copy of a tile's keys and values. Slots past the end repeat the last one; their weight will be 0.
void PrefillAttention::copyTile(Value tile, Value stage) {
  auto copy = [&](const Tile &shape, Span target, Buffer &pool, bool isKey) {
    int64_t chunks = shape.width / kChunk, threads = warps * kWarp, total = kSlotsOfTile * chunks;
    Value start = d.mul(stage, d.i32(shape.elements()));
    for (int64_t done = 0; done < total; done += threads) {
      Value index = d.add(d.threadId(), d.i32(done));
      auto one = [&] {
        Value slotOfTile = d.divU(index, chunks), chunk = d.remU(index, chunks);
        Value slot = d.minS(d.add(d.mul(tile, d.i32(kSlotsOfTile)), slotOfTile), d.sub(slots, d.i32(1)));
        Value page = d.divU(slot, layout.getPage()), inPage = d.remU(slot, layout.getPage());
        Value physical = k.load(layer["table"], {sequence, kvHead, page});
        Value channel = d.mul(chunk, d.i32(kChunk));
        SmallVector<Value> at = isKey ? SmallVector<Value>{physical, channel, inPage}
                                      : SmallVector<Value>{physical, inPage, channel};
        Value to = d.add(start, d.add(d.mul(slotOfTile, d.i32(shape.stride())), channel));
        copyAsync(d, d.pointer(target, to), d.pointer(pool.span, k.offsetOf(pool, at)));
      };
      if (done + threads <= total)
        one();
      else
        d.ifThen(d.lt(index, d.i32(total)), one);
    }
  };
  copy(keyTile, keys, layer["key"], true);
  copy(valueTile, values, layer["value"], false);
}

/// Products of the warp's queries with the tile's keys: 4 of every 8 slots.
SmallVector<Value> PrefillAttention::scores(Value stage) {
  SmallVector<Value> out;
  Value row = d.remU(lane, 8), matrix = d.divU(lane, 8);
  Value mine = d.add(d.mul(stage, d.i32(keyTile.elements())),
                     d.add(d.mul(row, d.i32(keyTile.stride())), d.mul(matrix, d.i32(kChunk))));
  Span base = d.at(keys, mine);
  for (int64_t block = 0; block < kSlotsOfTile / 8; ++block) {
    SmallVector<Value> sum(4, d.f32(0));
    for (int64_t quad = 0; quad < layout.getKeyDim() / 32; ++quad) {
      SmallVector<Value> key =
          loadMatrices(d, d.pointer(base, d.i32(block * 8 * keyTile.stride() + quad * 32)), 4, /*transposed=*/false);
      for (int64_t step = 0; step < 2; ++step)
        sum = multiply(d, ArrayRef(query).slice((quad * 2 + step) * 4, 4), ArrayRef(key).slice(step * 2, 2), sum, element);
    }
    llvm::append_range(out, sum);
  }
  return out;
}

Value PrefillAttention::visible(Row positions, unsigned i, Value slot, Value keyPosition) {
  Value seen = d.bitAnd(d.lt(slot, slots), d.ge(positions[i], keyPosition));
  if (layout.getSlotted())
    seen = d.bitAnd(seen, d.ge(keyPosition, d.i32(0)));
  if (int64_t window = op.getWindow(); window >= 0)
    seen = d.bitAnd(seen, d.ge(d.i32(window), d.sub(positions[i], keyPosition)));
  lowering::Emitter e(d.b, d.loc);
  if (Value policy = lowering::isVisible(e, layout, e.toIndex(kvHead), positions[i], keyPosition))
    seen = d.bitAnd(seen, policy);
  return seen;
}

/// Scores with those of slots that a row may not see replaced.
SmallVector<Value> PrefillAttention::hide(Value tile, ValueRange scores) {
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
          out.push_back(d.select(visible(position, i, slot[j], keyPosition[j]), scores[block * 4 + i * 2 + j],
                                 d.f32(kHidden)));
    }
    return out;
  };
  lowering::Emitter e(d.b, d.loc);
  bool policy = llvm::any_of(layout.getPolicies(), [](Attribute a) { return isa<sparsity::KVPolicyInterface>(a); });
  if (layout.getSlotted() || static_cast<int64_t>(op.getWindow()) >= 0 || policy)
    return masked();
  // A tile that ends before the warp's first row hides nothing.
  Value firstPosition = k.load(k.buffer(op.getPositions()), {firstRow});
  Value end = d.mul(d.add(tile, d.i32(1)), d.i32(kSlotsOfTile));
  Value reaches = d.cmp(arith::CmpIPredicate::sgt, end, d.minS(firstPosition, slots));
  return d.ifThenElse(reaches, masked, [&] { return SmallVector<Value>(scores.begin(), scores.end()); });
}

/// Scores to weights, and what came before on the same scale.
void PrefillAttention::softmax(SmallVectorImpl<Value> &scores, Sums &sums) {
  double scale = op.getScale().convertToDouble() * M_LOG2E;
  for (unsigned i = 0; i < 2; ++i) {
    Value largest = scores[i * 2];
    for (int64_t block = 0; block < kSlotsOfTile / 8; ++block)
      for (unsigned j = 0; j < 2; ++j)
        largest = d.maxF(largest, scores[block * 4 + i * 2 + j]);
    Value top = d.maxF(sums.top[i], maxOfQuad(largest));
    Value shift = d.mulF(top, d.f32(-scale));
    // Exactly 1 where the largest score stays: tiles that hide everything change no bit.
    Value before = d.exp2(d.mulF(d.subF(sums.top[i], top), d.f32(scale)));
    Value added;
    for (int64_t block = 0; block < kSlotsOfTile / 8; ++block)
      for (unsigned j = 0; j < 2; ++j) {
        Value &score = scores[block * 4 + i * 2 + j];
        score = d.exp2(d.fma(score, d.f32(scale), shift));
        added = added ? d.addF(added, score) : score;
      }
    sums.weight[i] = d.fma(sums.weight[i], before, added);
    sums.top[i] = top;
    for (size_t c = 0; c < sums.out.size(); c += 4)
      for (unsigned j = 0; j < 2; ++j)
        sums.out[c + i * 2 + j] = d.mulF(sums.out[c + i * 2 + j], before);
  }
}

void PrefillAttention::addValues(ArrayRef<Value> weights, Value stage, Sums &sums) {
  Value matrix = d.divU(lane, 8);
  Value slot = d.add(d.mul(d.remU(matrix, 2), d.i32(8)), d.remU(lane, 8));
  Value mine = d.add(d.mul(stage, d.i32(valueTile.elements())),
                     d.add(d.mul(slot, d.i32(valueTile.stride())), d.mul(d.divU(matrix, 2), d.i32(kChunk))));
  Span base = d.at(values, mine);
  for (int64_t step = 0; step < kSlotsOfTile / 16; ++step) {
    SmallVector<Value> left;
    for (int64_t half = 0; half < 2; ++half)
      for (unsigned i = 0; i < 2; ++i) {
        size_t first = (step * 2 + half) * 4 + i * 2;
        left.push_back(pack(d, weights[first], weights[first + 1], element));
      }
    for (int64_t pair = 0; pair < layout.getValueDim() / 16; ++pair) {
      SmallVector<Value> right =
          loadMatrices(d, d.pointer(base, d.i32(step * 16 * valueTile.stride() + pair * 16)), 4, /*transposed=*/true);
      for (int64_t half = 0; half < 2; ++half) {
        size_t at = (pair * 2 + half) * 4;
        SmallVector<Value> sum = multiply(d, left, ArrayRef(right).slice(half * 2, 2), ArrayRef(sums.out).slice(at, 4),
                                          element);
        llvm::copy(sum, sums.out.begin() + at);
      }
    }
  }
}

void PrefillAttention::store(Sums &sums) {
  Buffer &out = k.results[0], &lse = k.results[1];
  for (unsigned i = 0; i < 2; ++i) {
    Value weight = sumOfQuad(sums.weight[i]);
    Value inverse = d.divF(d.f32(1), weight);
    for (int64_t block = 0; block < layout.getValueDim() / 8; ++block) {
      Value pair = vector::FromElementsOp::create(
          d.b, d.loc, VectorType::get({2}, d.b.getF32Type()),
          ValueRange{d.mulF(sums.out[block * 4 + i * 2], inverse), d.mulF(sums.out[block * 4 + i * 2 + 1], inverse)});
      Value channel = d.add(d.mul(inGroup, d.i32(2)), d.i32(block * 8));
      k.store(d.fromF32(pair, out.span.element), out,
              {row[i], d.add(d.mul(head, d.i32(layout.getValueDim())), channel)});
    }
    d.ifThen(d.eq(inGroup, d.i32(0)), [&] {
      Value log = d.mulF(d.log2(weight), d.f32(M_LN2));
      k.store(d.fma(sums.top[i], d.f32(op.getScale().convertToDouble()), log), lse, {row[i], head});
    });
  }
}

void PrefillAttention::emit() {
  plan();
  locate();
  copyTile(firstTile, d.remU(firstTile, kStages));
  commitCopies(d);

  size_t outputs = layout.getValueDim() / 8 * 4;
  SmallVector<Value> init(outputs, d.f32(0));
  init.append({d.f32(kLeastTop), d.f32(kLeastTop), d.f32(0), d.f32(0)});
  auto unpack = [&](ValueRange carried) {
    return Sums{SmallVector<Value>(carried.take_front(outputs)),
                {carried[outputs], carried[outputs + 1]},
                {carried[outputs + 2], carried[outputs + 3]}};
  };
  SmallVector<Value> folded = d.loop(firstTile, tiles, d.i32(1), init, [&](Value tile, ValueRange carried) {
    Sums sums = unpack(carried);
    Value next = d.add(tile, d.i32(1)), stage = d.remU(tile, kStages);
    d.ifThen(d.lt(next, tiles), [&] { copyTile(next, d.remU(next, kStages)); });
    commitCopies(d);
    waitForCopies(d, kStages - 1);
    d.barrier();
    SmallVector<Value> weights = hide(tile, scores(stage));
    softmax(weights, sums);
    addValues(weights, stage, sums);
    d.barrier(); // before the next copy overwrites this stage
    SmallVector<Value> result = sums.out;
    result.append({sums.top[0], sums.top[1], sums.weight[0], sums.weight[1]});
    return result;
  });
  Sums sums = unpack(folded);
  store(sums);
}

static LogicalResult emit(DeviceKernel &k) {
  PrefillAttention(k, cast<sparsity::AttendOp>(k.ops.front())).emit();
  return success();
}

const Template sparse::device::attendPrefillTemplate{whyNot, emit};
