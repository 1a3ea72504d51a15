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
  Value sequence, kvHead, group, quad;
  Span queries;   // right operands in shared memory: [field][load][part][lane][4]
  int64_t parts; // 2 where what rounding left over has products of its own


  /// Leaves the queries in shared memory, each load of each field by one warp; a barrier must follow.
  void shareQueries(const Buffer &query, Value row, Value head);
  /// All registers of a tile's fields: [field][load][row half][4].
  SmallVector<Value> load(Value tile);
  /// Scores of pages g and g + 8 of the tile, in lanes of all t.
  SmallVector<Value> scores(ValueRange loaded);
  Value reduce(Value a, Value c);
};
} // namespace

SmallVector<Value> TileScores::load(Value tile) {
  int64_t dim = layer.layout.getKeyDim();
  Value firstChunk = dim >= 4 * kLoadChannels ? quad : d.minS(quad, d.i32(dim / kLoadChannels - 1));
  SmallVector<Value> loaded;
  for (StringRef name : policy.getScoreFields()) {
    Buffer &field = layer[name];
    Span rows[2];
    for (int64_t half = 0; half < 2; ++half) {
      // Pages past the end may hold anything; their scores are not used.
      Value page = d.add(d.mul(tile, d.i32(kTilePages)), d.add(group, d.i32(8 * half)));
      page = d.minS(page, d.i32(layer.layout.getMaxPages() - 1));
      rows[half] = d.at(field.span, k.offsetOf(field, {sequence, kvHead, page, d.mul(firstChunk, d.i32(kLoadChannels))}));
    }
    for (int64_t j = 0; j < loads; ++j)
      for (Span row : rows) {
        // One address for a row; the rest are constants of the loads, but past the end of a row.
        Value offset = d.i32(4 * j * kLoadChannels);
        if (4 * (j + 1) * kLoadChannels > dim)
          offset = d.select(d.lt(d.add(quad, d.i32(4 * j)), d.i32(dim / kLoadChannels)), offset, d.i32(0));
        llvm::append_range(loaded, stream(d.pointer(row, offset)));
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
  int64_t fields = policy.getScoreFields().size();
  for (int64_t f = 0; f < fields; ++f)
    for (int64_t part = 0; part < parts; ++part) {
      SmallVector<Value> sums(4, d.f32(0));
      for (int64_t j = 0; j < loads; ++j) {
        Value place = d.add(d.lane(), d.i32(((f * loads + j) * parts + part) * kWarp));
        Value query = d.load(queries, d.mul(place, d.i32(4)), 4);
        for (int64_t step = 0; step < 2; ++step) {
          auto word = [&](int64_t half, int64_t i) { return loaded[((f * loads + j) * 2 + half) * 4 + 2 * step + i]; };
          sums = multiply(d, {word(0, 0), word(1, 0), word(0, 1), word(1, 1)},
                          {d.element(query, 2 * step), d.element(query, 2 * step + 1)}, sums, element);
        }
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

void TileScores::shareQueries(const Buffer &query, Value row, Value head) {
  int64_t dim = layer.layout.getKeyDim(), fields = policy.getScoreFields().size();
  Type element = layer.layout.getType();
  d.loop(d.warp(), d.i32(fields * loads), d.i32(kWarpsOfBlock), [&](Value task) {
    Value field = d.divU(task, loads), chunk = d.add(quad, d.mul(d.remU(task, loads), d.i32(4)));
    Value inside = d.bitAnd(d.lt(group, d.i32(groups)), d.lt(chunk, d.i32(dim / kLoadChannels)));
    Value queryHead = d.add(d.mul(head, d.i32(groups)), group);
    Value column = d.add(d.mul(queryHead, d.i32(dim)), d.mul(chunk, d.i32(kLoadChannels)));
    Value vector = loadRow(k, query, {row, d.select(inside, column, d.i32(0))}, kLoadChannels);
    Value zero = d.zero(vector.getType());
    vector = d.select(inside, vector, zero);
    Value shaped = vector;
    for (auto [index, part] : llvm::enumerate(policy.getScoreParts())) {
      if (part == sparsity::QueryPart::Whole)
        continue;
      Value half = part == sparsity::QueryPart::Positive ? d.maxF(vector, zero) : d.minF(vector, zero);
      shaped = d.select(d.eq(field, d.i32(index)), half, shaped);
    }
    Value high = d.fromF32(shaped, element), low = d.fromF32(d.subF(shaped, d.toF32(high)), element);
    auto four = VectorType::get({4}, d.b.getI32Type());
    SmallVector<Value> operands{d.bitcast(high, four), d.bitcast(low, four)};
    if (parts == 1) {
      // The remainders stand in columns 4-7.
      Value moved = shuffleEach(d, operands[1], kWarp / 2);
      operands[0] = d.select(d.ge(d.lane(), d.i32(kWarp / 2)), moved, operands[0]);
    }
    for (int64_t part = 0; part < parts; ++part)
      d.store(operands[part], queries,
              d.mul(d.add(d.lane(), d.mul(d.add(d.mul(task, d.i32(parts)), d.i32(part)), d.i32(kWarp))), d.i32(4)));
  });
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
  k.blocksOfProcessor = 2;

  Value head = d.blockId(1), row = d.blockId(2), kvHead = d.divU(head, selecting / layout.getKvHeads());
  // The first loads are under way before the launch before has added its token. It takes one more page at most, and changes
  // the fields of the token's page alone, which is attended to whatever its score.
  Value sequence = k.load(k.buffer(op.getSequences()), {row});
  Value likely = d.add(pagesInUse(k, layer, sequence, kvHead), d.i32(1));
  Value firstTile = d.mul(d.add(d.mul(d.blockId(0), d.i32(kWarpsOfBlock)), d.warp()), d.i32(ofWarp));
  Value usedTiles = d.divU(d.add(likely, d.i32(kTilePages - 1)), kTilePages);
  Value lowest = d.f32(-std::numeric_limits<double>::infinity());
  Value last = d.minS(d.add(firstTile, d.i32(ofWarp)), usedTiles);
  int64_t loads = llvm::divideCeil(layout.getKeyDim(), 4 * kLoadChannels), parts = groups <= kFewHeads ? 1 : 2;
  int64_t fields = policy.getScoreFields().size();
  TileScores tile{k, d, layer, policy, groups, loads, StreamLoad(d), sequence, kvHead, d.divU(d.lane(), 4),
                  d.remU(d.lane(), 4), d.shared(d.b.getI32Type(), fields * loads * parts * kWarp * 4, "queries"), parts};
  SmallVector<Value> loaded =
      d.ifThenElse(d.lt(firstTile, last), [&] { return tile.load(firstTile); },
                   [&] { return SmallVector<Value>(fields * loads * 8, d.i32(0)); });
  d.waitForLaunchBefore();
  d.allowNextLaunch();
  tile.shareQueries(k.buffer(op.getQuery()), row, head);
  Value used = pagesInUse(k, layer, sequence, kvHead);
  d.barrier();
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
  // Pages of the warp's tiles that no tile in use has.
  Value from = d.mul(d.maxS(firstTile, usedTiles), d.i32(kTilePages));
  Value to = d.minS(d.mul(d.add(firstTile, d.i32(ofWarp)), d.i32(kTilePages)), d.i32(pages));
  d.loop(d.add(from, d.lane()), to, d.i32(kWarp), [&](Value page) { k.store(lowest, scores, {row, head, page}); });
  return success();
}

const Template sparse::device::scoreMmaTemplate{whyNot, emit, /*waitsItself=*/true};
