//===-- ScoreChannels.cpp - Scores from fields that lie by channel ------------------------------------------------===//
//
// For policies whose term is the positive part of the query times one field plus the negative part times another: of each
// channel only the field that the query's sign picks is read. A lane has the 16 bytes of its neighbouring pages, a warp some
// of the channels with all their loads under way at once; the warps' sums meet in shared memory, in the order of channels.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/ScoreChannels.h"
#include "passes/ToGPU/StreamLoad.h"
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/ScoreFields.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfBlock = 8;

std::string sparse::device::whyNotChannels(sparsity::ScoreOp op) {
  kvcache::LayoutAttr layout = op.getState().getType().getLayout();
  auto parts = cast<sparsity::SelectionPolicyInterface>(op.getPolicy()).getScoreParts();
  if (parts.size() != 2 || llvm::is_contained(parts, sparsity::QueryPart::Whole) || parts[0] == parts[1])
    return "the sign of the query picks no field of the policy's term";
  int64_t width = 128 / layout.getType().getIntOrFloatBitWidth();
  if (layout.getMaxPages() % width != 0)
    return "a table of " + std::to_string(layout.getMaxPages()) + " pages is no multiple of the " +
           std::to_string(width) + " that a lane loads";
  return "";
}

namespace {
struct ChannelScores {
  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  Buffer &query;
  int64_t channels, width; // of a warp; pages of a lane
  StringRef positive, negative;
  StreamLoad stream;
  Value row, kvHead, sequence;
  Value pages; // i32: the first of this lane's, which has memory

  /// Sums over this warp's channels for one query head, one for each of the lane's pages.
  SmallVector<Value> sums(Value queryHead);
};
} // namespace

SmallVector<Value> ChannelScores::sums(Value queryHead) {
  int64_t dim = layer.layout.getKeyDim();
  Value first = d.mul(d.warp(), d.i32(channels)), column = d.mul(queryHead, d.i32(dim));
  Value zero = d.f32(0);
  // Lane c of each 32 holds the query's entry of channel c.
  SmallVector<Value> queries;
  for (int64_t c = 0; c < channels; c += kWarp) {
    Value channel = d.add(first, d.add(d.lane(), d.i32(c)));
    Value inside = d.lt(channel, d.i32(dim));
    Value entry = d.toF32(k.load(query, {row, d.add(column, d.select(inside, channel, d.i32(0)))}));
    queries.push_back(d.select(inside, entry, zero));
  }
  SmallVector<Value> factors;
  SmallVector<SmallVector<Value>> loaded;
  for (int64_t c = 0; c < channels; ++c) {
    Value factor = d.shuffle(queries[c / kWarp], d.i32(c % kWarp));
    Value isPositive = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OGE, factor, zero);
    Value channel = d.minS(d.add(first, d.i32(c)), d.i32(dim - 1));
    SmallVector<Value> at{sequence, kvHead, pages, channel};
    Value up = d.pointer(layer[positive].span, k.offsetOf(layer[positive], at));
    Value down = d.pointer(layer[negative].span, k.offsetOf(layer[negative], at));
    factors.push_back(factor);
    loaded.push_back(stream(d.select(isPositive, up, down)));
  }
  auto words = VectorType::get({4}, d.b.getI32Type());
  auto entries = VectorType::get({width}, layer.layout.getType());
  SmallVector<Value> sums(width, zero);
  for (auto [factor, registers] : llvm::zip(factors, loaded)) {
    Value vector = d.toF32(d.bitcast(vector::FromElementsOp::create(d.b, d.loc, words, registers), entries));
    for (auto [i, sum] : llvm::enumerate(sums))
      sum = d.fma(factor, d.element(vector, i), sum);
  }
  return sums;
}

LogicalResult sparse::device::emitScoreChannels(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::ScoreOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  auto policy = cast<sparsity::SelectionPolicyInterface>(op.getPolicy());
  Buffer &scores = k.results[0], &query = k.buffer(op.getQuery()); // [T, Hs, pages]
  int64_t selecting = scores.size(1), pages = scores.size(2), dim = layout.getKeyDim();
  int64_t groups = query.size(1) / dim / selecting, width = 128 / layout.getType().getIntOrFloatBitWidth();
  int64_t ofBlock = width * kWarp;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(pages, ofBlock)), selecting, scores.size(0)};
  k.block = {kWarpsOfBlock * kWarp, 1, 1};

  Value head = d.blockId(1), row = d.blockId(2), kvHead = d.divU(head, selecting / layout.getKvHeads());
  Value sequence = k.load(k.buffer(op.getSequences()), {row});
  d.waitForLaunchBefore();
  d.allowNextLaunch();
  Value used = pagesInUse(k, layer, sequence, kvHead);
  Value start = d.mul(d.blockId(0), d.i32(ofBlock)), end = d.minS(d.add(start, d.i32(ofBlock)), d.i32(pages));
  Span parts = d.shared(d.b.getF32Type(), kWarpsOfBlock * ofBlock, "parts"); // [warp][page]
  Value lowest = d.f32(-std::numeric_limits<double>::infinity());

  auto scorePages = [&]() -> SmallVector<Value> {
    // Lanes behind the last page in use read its neighbours: beyond there may be no memory.
    Value own = d.add(start, d.mul(d.lane(), d.i32(width)));
    Value lastUsed = d.mul(d.divU(d.sub(used, d.i32(1)), width), d.i32(width));
    bool isFirstPositive = policy.getScoreParts()[0] == sparsity::QueryPart::Positive;
    auto fields = policy.getScoreFields();
    ChannelScores channelScores{k,
                                d,
                                layer,
                                query,
                                static_cast<int64_t>(llvm::divideCeil(dim, kWarpsOfBlock)),
                                width,
                                fields[isFirstPositive ? 0 : 1],
                                fields[isFirstPositive ? 1 : 0],
                                StreamLoad(d),
                                row,
                                kvHead,
                                sequence,
                                d.minS(own, lastUsed)};
    Value page = d.add(start, d.threadId()), score;
    for (int64_t g = 0; g < groups; ++g) {
      SmallVector<Value> sums = channelScores.sums(d.add(d.mul(head, d.i32(groups)), d.i32(g)));
      if (g > 0)
        d.barrier();
      Value place = d.add(d.mul(d.warp(), d.i32(ofBlock)), d.mul(d.lane(), d.i32(width)));
      for (int64_t i = 0; i < width; i += 4)
        d.store(vector::FromElementsOp::create(d.b, d.loc, VectorType::get({4}, d.b.getF32Type()),
                                               ArrayRef<Value>(sums).slice(i, 4)),
                parts, d.add(place, d.i32(i)));
      d.barrier();
      Value total;
      for (int64_t warp = 0; warp < kWarpsOfBlock; ++warp) {
        Value part = d.load(parts, d.add(d.i32(warp * ofBlock), d.remU(d.threadId(), ofBlock)));
        total = total ? d.addF(total, part) : part;
      }
      score = !score ? total : policy.isGroupSum() ? d.addF(score, total) : d.maxF(score, total);
    }
    d.ifThen(d.bitAnd(d.lt(page, end), d.lt(d.threadId(), d.i32(ofBlock))),
             [&] { k.store(d.select(d.lt(page, used), score, lowest), scores, {row, head, page}); });
    return {};
  };
  auto passBy = [&]() -> SmallVector<Value> {
    d.loop(d.add(start, d.threadId()), end, d.i32(kWarpsOfBlock * kWarp),
           [&](Value page) { k.store(lowest, scores, {row, head, page}); });
    return {};
  };
  d.ifThenElse(d.lt(start, used), scorePages, passBy);
  return success();
}
