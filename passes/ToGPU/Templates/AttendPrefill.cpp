//===-- AttendPrefill.cpp - Causal attention of a prompt's rows on tensor cores -----------------------------------===//
//
// A block takes one query head and up to 128 rows, a warp 16 of them. It walks the slots of the cache in tiles of 64: keys
// and values of the next tile are copied while this one is multiplied; scores stay in registers, become weights by online
// softmax in powers of two, and are the left operand of the second product (T. Dao, FlashAttention-2, arXiv 2307.08691).
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/AsyncCopy.h"
#include "passes/ToGPU/Templates/PromptBlock.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/TensorCore.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostWarps = 8, kStages = 2;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto attend = cast<sparsity::AttendOp>(headOf(kernel));
  if (!attend.getPrefill() || attend.getIndices())
    return "it is for the rows of a prompt over the whole cache";
  return whyNotPrompt(attend.getState().getType().getLayout(), attend.getQuery(), attend.getSoftcap().convertToDouble());
}

namespace {

class PrefillAttention : PromptBlock {
public:
  PrefillAttention(DeviceKernel &k, sparsity::AttendOp op, int64_t warps)
      : PromptBlock(k, op.getState(), op.getQuery(), op.getPositions(), op.getSequences(), int64_t(op.getWindow()), warps),
        op(op) {}

  void emit();

private:
  struct Sums {
    SmallVector<Value> out; // 4 of every 8 channels
    Row top, weight;        // the largest score so far; the sum of weights, of this lane's slots alone
  };

  void plan();
  void locate();
  void copyTiles(Value tile, Value stage);
  /// Codes of the next tile are under way in registers while one is multiplied.
  SmallVector<Value> loadTiles(Value tile);
  void storeTiles(ValueRange loaded, Value stage);
  void softmax(SmallVectorImpl<Value> &scores, Sums &sums);
  void addValues(ArrayRef<Value> weights, Value stage, Sums &sums);
  void store(Sums &sums);
  Value maxOfQuad(Value value);
  Value sumOfQuad(Value value);

  sparsity::AttendOp op;
  Span values; // shared, all stages
  Value head;
  Value firstTile, tiles; // tiles [firstTile, tiles)
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
  // The last rows see most slots: they start first.
  k.grid = {queryHeads(), query.size(0) / (warps * kRowsOfWarp), 1};
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
  kvHead = d.divU(head, queryHeads() / layout.getKvHeads());
  Value tileOfRows = d.sub(d.i32(k.grid[1] - 1), d.blockId(1));
  Value first = d.mul(tileOfRows, d.i32(warps * kRowsOfWarp));
  locateRows(d.add(first, d.mul(d.warp(), d.i32(kRowsOfWarp))));
  // Positions of a prompt's rows are consecutive.
  slots = k.load(layer["count"], {sequence, kvHead});
  if (!layout.getSlotted()) {
    Value last = k.load(positions, {d.add(first, d.i32(warps * kRowsOfWarp - 1))});
    slots = d.minS(slots, d.add(last, d.i32(1)));
  }
  tiles = d.ceilDivU(slots, d.i32(kSlotsOfTile));
  firstTile = d.i32(0);
  if (window >= 0 && !layout.getSlotted()) {
    Value oldest = d.maxS(d.sub(k.load(positions, {first}), d.i32(window)), d.i32(0));
    firstTile = d.divU(oldest, kSlotsOfTile);
  }
}

/// Starts the copy of a tile's keys and values; the weight of slots past the end will be 0.
void PrefillAttention::copyTiles(Value tile, Value stage) {
  copyTile(keyTile, keys, "key", tile, stage);
  copyTile(valueTile, values, "value", tile, stage);
}

SmallVector<Value> PrefillAttention::loadTiles(Value tile) {
  SmallVector<Value> words = loadTile(keyTile, "key", tile);
  llvm::append_range(words, loadTile(valueTile, "value", tile));
  return words;
}

void PrefillAttention::storeTiles(ValueRange loaded, Value stage) {
  storeTile(keyTile, keys, loaded.take_front(wordsOf(keyTile)), stage);
  storeTile(valueTile, values, loaded.take_back(wordsOf(valueTile)), stage);
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
                     d.add(d.mul(slot, d.i32(valueTile.stride())), d.mul(d.divU(matrix, 2), d.i32(8))));
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
  SmallVector<Value> fragments = loadQuery(head);
  bool codes = layout.isQuantized();
  if (codes) {
    storeTiles(loadTiles(firstTile), d.remU(firstTile, kStages));
  } else {
    copyTiles(firstTile, d.remU(firstTile, kStages));
    commitCopies(d);
  }

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
    SmallVector<Value> loaded;
    if (codes) {
      loaded = loadTiles(d.minS(next, d.sub(tiles, d.i32(1))));
    } else {
      d.ifThen(d.lt(next, tiles), [&] { copyTiles(next, d.remU(next, kStages)); });
      commitCopies(d);
      waitForCopies(d, kStages - 1);
    }
    d.barrier();
    SmallVector<Value> weights = hide(tile, scaled("key", tile, scores(fragments, stage)));
    softmax(weights, sums);
    addValues(scaled("value", tile, weights), stage, sums);
    if (codes)
      storeTiles(loaded, d.remU(next, kStages));
    d.barrier(); // before the next copy overwrites this stage
    SmallVector<Value> result = sums.out;
    result.append({sums.top[0], sums.top[1], sums.weight[0], sums.weight[1]});
    return result;
  });
  Sums sums = unpack(folded);
  store(sums);
}

static LogicalResult emit(DeviceKernel &k) {
  auto op = cast<sparsity::AttendOp>(k.ops.front());
  int64_t tiles = k.buffer(op.getQuery()).size(0) / kRowsOfWarp, warps = std::min(kMostWarps, tiles);
  while (tiles % warps != 0)
    --warps;
  PrefillAttention(k, op, warps).emit();
  return success();
}

const Template sparse::device::attendPrefillTemplate{whyNot, emit};
