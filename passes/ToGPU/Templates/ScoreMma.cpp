//===-- ScoreMma.cpp - Scores of pages as products of fields and queries, on tensor cores -------------------------===//
//
// For policies whose term is a sum of parts of the query times fields. The left operand has sixteen pages as rows, filled
// straight from loads of 16 bytes; the right one has query heads as columns. What rounding the queries left over is in
// columns 4-7 for up to four heads, in a product of its own for more. A warp has the loads of its next tile under way
// while it multiplies the last.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/AttendMma.h"
#include "passes/ToGPU/Templates/ScoreFields.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToGPU/TensorCore.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfBlock = 8, kTilePages = 16, kFewHeads = 4;

static int64_t groupsOf(sparsity::ScoreOp op) {
  int64_t heads = cast<RankedTensorType>(op.getQuery().getType()).getDimSize(1) /
                  op.getState().getType().getLayout().getKeyDim();
  return heads / cast<RankedTensorType>(op.getScores().getType()).getDimSize(1);
}

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto op = cast<sparsity::ScoreOp>(headOf(kernel));
  kvcache::LayoutAttr layout = op.getState().getType().getLayout();
  if (std::string reason = whyNotKeyLike(op); !reason.empty())
    return reason;
  auto policy = cast<sparsity::SelectionPolicyInterface>(op.getPolicy());
  if (policy.getScoreParts().empty())
    return "the policy's term is no product of the query";
  if (policy.getScoreParts().size() > 2)
    return "the policy reads more fields than registers can hold";
  if (layout.getType().isF32())
    return "tensor cores multiply bf16 or f16";
  if (layout.getKeyDim() > 128)
    return "a key dimension of " + std::to_string(layout.getKeyDim()) + " needs more registers than a thread has";
  if (groupsOf(op) > kProductHeads)
    return std::to_string(groupsOf(op)) + " query heads are more than the columns of a product";
  return "";
}

namespace {
struct TileScores {
  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  sparsity::SelectionPolicyInterface policy;
  int64_t groups, loads;
  StreamLoad stream;
  Value sequence, kvHead, used, group, quad;
  SmallVector<QueryFragments> queries; // of each field

  /// All registers of a tile's fields: [field][load][row half][4].
  SmallVector<Value> load(Value tile);
  /// Scores of pages g and g + 8 of the tile, in lanes of all t.
  SmallVector<Value> scores(ValueRange loaded);
  Value reduce(Value a, Value c);
};
} // namespace

SmallVector<Value> TileScores::load(Value tile) {
  int64_t dim = layer.layout.getKeyDim();
  SmallVector<Value> loaded;
  for (StringRef name : policy.getScoreFields()) {
    Buffer &field = layer[name];
    for (int64_t j = 0; j < loads; ++j)
      for (int64_t half = 0; half < 2; ++half) {
        Value page = d.add(d.mul(tile, d.i32(kTilePages)), d.add(group, d.i32(8 * half)));
        Value chunk = d.add(quad, d.i32(4 * j));
        if (4 * (j + 1) * kLoadChannels > dim)
          chunk = d.select(d.lt(chunk, d.i32(dim / kLoadChannels)), chunk, d.i32(0));
        // Pages past the end may hold anything; their scores are not used.
        Value at = k.offsetOf(field, {sequence, kvHead, d.minS(page, d.i32(layer.layout.getMaxPages() - 1)),
                                      d.mul(chunk, d.i32(kLoadChannels))});
        llvm::append_range(loaded, stream(d.pointer(field.span, at)));
      }
  }
  return loaded;
}

Value TileScores::reduce(Value a, Value c) {
  return policy.isGroupSum() ? d.addF(a, c) : d.maxF(a, c);
}

SmallVector<Value> TileScores::scores(ValueRange loaded) {
  Type element = layer.layout.getType();
  SmallVector<SmallVector<Value>> chains;
  for (size_t f = 0; f < queries.size(); ++f)
    for (bool isLow : {false, true}) {
      if (isLow && groups <= kFewHeads)
        continue;
      SmallVector<Value> sums(4, d.f32(0));
      ArrayRef<Value> query = isLow ? queries[f].low : queries[f].high;
      for (int64_t j = 0; j < loads; ++j)
        for (int64_t step = 0; step < 2; ++step) {
          auto word = [&](int64_t half, int64_t i) { return loaded[((f * loads + j) * 2 + half) * 4 + 2 * step + i]; };
          sums = multiply(d, {word(0, 0), word(1, 0), word(0, 1), word(1, 1)},
                          {query[4 * j + 2 * step], query[4 * j + 2 * step + 1]}, sums, element);
        }
      chains.push_back(sums);
    }
  SmallVector<Value> sums = chains[0];
  for (ArrayRef<Value> chain : ArrayRef(chains).drop_front())
    for (int64_t i = 0; i < 4; ++i)
      sums[i] = d.addF(sums[i], chain[i]);
  int64_t columns = kProductHeads;
  if (groups <= kFewHeads) {
    for (Value &sum : sums)
      sum = d.addF(sum, d.shuffleXor(sum, 2));
    columns = kFewHeads;
  }
  // Columns 2 t and 2 t + 1 are this lane's; those past the heads count nothing.
  Value nothing = d.f32(policy.isGroupSum() ? 0 : -std::numeric_limits<double>::infinity());
  SmallVector<Value> scores;
  for (int64_t half = 0; half < 2; ++half) {
    Value pair[2];
    for (int64_t i = 0; i < 2; ++i) {
      Value column = d.add(d.mul(d.remU(quad, columns / 2), d.i32(2)), d.i32(i));
      pair[i] = groups == columns ? sums[2 * half + i]
                                  : d.select(d.lt(column, d.i32(groups)), sums[2 * half + i], nothing);
    }
    Value score = reduce(pair[0], pair[1]);
    for (int64_t distance = 1; distance < columns / 2; distance *= 2)
      score = reduce(score, d.shuffleXor(score, distance));
    scores.push_back(score);
  }
  return scores;
}

/// The queries as right operands: for up to four heads the remainders stand in columns 4-7.
static QueryFragments columnsOf(DeviceKernel &k, sparsity::ScoreOp op, Value row, Value head, int64_t groups,
                                sparsity::QueryPart part) {
  Device &d = k.d;
  kvcache::LayoutAttr layout = op.getState().getType().getLayout();
  auto shape = [&](Value vector) -> Value {
    Value zero = d.zero(vector.getType());
    if (part == sparsity::QueryPart::Whole)
      return vector;
    return part == sparsity::QueryPart::Positive ? d.maxF(vector, zero) : d.minF(vector, zero);
  };
  QueryFragments fragments = QueryFragments::load(k, k.buffer(op.getQuery()), row, d.mul(head, d.i32(groups)),
                                                  d.i32(groups), layout.getKeyDim(), layout.getType(), shape);
  if (groups > kFewHeads)
    return fragments;
  Value isLow = d.ge(d.lane(), d.i32(kWarp / 2));
  for (auto [high, low] : llvm::zip(fragments.high, fragments.low)) {
    Value moved = d.shuffleXor(low, kWarp / 2);
    high = d.select(isLow, moved, high);
  }
  return fragments;
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::ScoreOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  auto policy = cast<sparsity::SelectionPolicyInterface>(op.getPolicy());
  Buffer &scores = k.results[0]; // [T, Hs, pages]
  int64_t selecting = scores.size(1), pages = scores.size(2), groups = groupsOf(op);
  int64_t tiles = llvm::divideCeil(pages, kTilePages);
  // Two tiles a warp once there are enough for all multiprocessors twice.
  bool isMany = tiles * selecting * scores.size(0) >= 2 * kWarpsOfBlock * k.target.getMultiprocessors();
  int64_t ofWarp = isMany ? 2 : 1;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(tiles, kWarpsOfBlock * ofWarp)), selecting, scores.size(0)};
  k.block = {kWarpsOfBlock * kWarp, 1, 1};

  Value head = d.blockId(1), row = d.blockId(2), kvHead = d.divU(head, selecting / layout.getKvHeads());
  Value sequence = k.load(k.buffer(op.getSequences()), {row}), used = pagesInUse(k, layer, sequence, kvHead);
  Value firstTile = d.mul(d.add(d.mul(d.blockId(0), d.i32(kWarpsOfBlock)), d.warp()), d.i32(ofWarp));
  Value usedTiles = d.divU(d.add(used, d.i32(kTilePages - 1)), kTilePages);
  Value lowest = d.f32(-std::numeric_limits<double>::infinity());
  Value last = d.minS(d.add(firstTile, d.i32(ofWarp)), usedTiles);
  TileScores tile{k,      d,      layer, policy,         groups, static_cast<int64_t>(llvm::divideCeil(layout.getKeyDim(), 32)),
                  StreamLoad(d), sequence, kvHead, used, d.divU(d.lane(), 4), d.remU(d.lane(), 4), {}};
  d.ifThen(d.lt(firstTile, last), [&] {
    SmallVector<Value> loaded = tile.load(firstTile);
    for (sparsity::QueryPart part : policy.getScoreParts())
      tile.queries.push_back(columnsOf(k, op, row, head, groups, part));
    d.loop(firstTile, last, d.i32(1), loaded, [&](Value at, ValueRange current) {
      SmallVector<Value> own = tile.scores(current);
      for (int64_t half = 0; half < 2; ++half) {
        Value page = d.add(d.mul(at, d.i32(kTilePages)), d.add(tile.group, d.i32(8 * half)));
        d.ifThen(d.bitAnd(d.eq(tile.quad, d.i32(0)), d.lt(page, d.i32(pages))), [&] {
          k.store(d.select(d.lt(page, used), own[half], lowest), scores, {row, head, page});
        });
      }
      Value next = d.add(at, d.i32(1));
      return d.ifThenElse(
          d.lt(next, last), [&] { return tile.load(next); },
          [&] { return SmallVector<Value>(current.begin(), current.end()); });
    });
  });
  // Pages of the warp's tiles that no tile in use has.
  Value from = d.mul(d.maxS(firstTile, usedTiles), d.i32(kTilePages));
  Value to = d.minS(d.mul(d.add(firstTile, d.i32(ofWarp)), d.i32(kTilePages)), d.i32(pages));
  d.loop(d.add(from, d.lane()), to, d.i32(kWarp), [&](Value page) { k.store(lowest, scores, {row, head, page}); });
  return success();
}

const Template sparse::device::scoreMmaTemplate{whyNot, emit};
