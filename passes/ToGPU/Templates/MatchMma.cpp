//===-- MatchMma.cpp - The key nearest to the victim's, by products of fragments ----------------------------------===//
//
// A warp takes sixteen slots as the rows of a product with the victim's key, and again with their own keys, whose
// diagonal holds the squares of their lengths. Channels are permuted, in all operands alike, such that a lane loads 16
// bytes of a row. The meaning is that of the linalg lowering (passes/ToLinalg/Merge.cpp).
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/TensorCore.h"
#include "passes/ToGPU/Templates/Match.h"
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/RowSquares.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

/// Slots of a product, channels of a load and of the four lanes that share a row, and loads of a lane's row that are
/// under way together, in several tiles: half of what a thread's registers hold.
static constexpr int64_t kSlots = 16, kLoad = 8, kRowChannels = 4 * kLoad, kLoadsTogether = 16;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto op = cast<sparsity::MatchOp>(headOf(kernel));
  kvcache::LayoutAttr layout = op.getState().getType().getLayout();
  if (cast<sparsity::MergePolicyInterface>(op.getPolicy()).getTargets() != sparsity::MergeTargets::Nearest)
    return "the policy merges into followers";
  if (std::string reason = whyNotWideRows(layout); !reason.empty())
    return reason;
  if (layout.getElementBytes() != 2)
    return "keys are no numbers of 16 bits";
  if (layout.getPage() % kSlots != 0)
    return "a page of " + std::to_string(layout.getPage()) + " slots is no multiple of " + std::to_string(kSlots);
  if (layout.getKeyDim() % kRowChannels != 0)
    return "a key dimension of " + std::to_string(layout.getKeyDim()) + " is no multiple of " + std::to_string(kRowChannels);
  return "";
}

namespace {
struct NearestTile {
  HeadMatch &h;
  Device &d;
  Type element;
  int64_t loads;
  Value group, quad;
  SmallVector<Value> victim; // the lane's registers, kLoad / 2 of each load
  Value length;              // the victim's

  explicit NearestTile(HeadMatch &h)
      : h(h), d(h.d), element(h.merge.layer.layout.getElementType()), loads(h.merge.layer.layout.getKeyDim() / kRowChannels),
        group(d.divU(d.lane(), 4)), quad(d.remU(d.lane(), 4)) {
    victim = load(keyOfSlot(h, h.victim()));
    Value squares = d.zero(VectorType::get({kLoad}, d.b.getF32Type()));
    for (int64_t j = 0; j < loads; ++j) {
      Value words = vector::FromElementsOp::create(d.b, d.loc, VectorType::get({kLoad / 2}, d.b.getI32Type()),
                                                   ArrayRef(victim).slice(j * kLoad / 2, kLoad / 2));
      Value x = d.toF32(d.bitcast(words, VectorType::get({kLoad}, element)));
      squares = d.fma(x, x, squares);
    }
    length = normOf(d, d.warpSum(d.sumOf(squares), 4));
  }
  /// The lane's registers of a key.
  SmallVector<Value> load(Span key);
  /// The best of the slots of some tiles, whose pages in the pool are `physicals`, and of `best`.
  BestSlot compare(ValueRange tiles, ValueRange physicals, Value all, BestSlot best);
};
} // namespace

SmallVector<Value> NearestTile::load(Span key) {
  SmallVector<Value> registers;
  for (int64_t j = 0; j < loads; ++j) {
    Value channel = d.mul(d.add(quad, d.i32(4 * j)), d.i32(kLoad));
    Value words = d.bitcast(d.loadOnce(key, channel), VectorType::get({kLoad / 2}, d.b.getI32Type()));
    for (int64_t i = 0; i < kLoad / 2; ++i)
      registers.push_back(d.element(words, i));
  }
  return registers;
}

BestSlot NearestTile::compare(ValueRange tiles, ValueRange physicals, Value all, BestSlot best) {
  struct Row {
    Value slot, position;
    SmallVector<Value> key;
  };
  SmallVector<std::pair<Row, Row>> rows; // this lane's two of each tile
  SmallVector<Value> inside;
  for (auto [tile, physical] : llvm::zip(tiles, physicals)) {
    inside.push_back(d.lt(tile, all));
    Value first = d.mul(d.select(inside.back(), tile, d.i32(0)), d.i32(kSlots));
    auto rowAt = [&, physical = physical](int64_t offset) {
      Value slot = d.add(first, d.add(group, d.i32(offset)));
      return Row{slot, h.positionOf(slot), load(keyInPage(h, physical, slot))};
    };
    Row low = rowAt(0), high = rowAt(kSlots / 2);
    rows.emplace_back(std::move(low), std::move(high));
  }
  for (size_t u = 0; u < rows.size(); ++u) {
    const Row &low = rows[u].first, &high = rows[u].second;
    SmallVector<Value> dots(4, d.f32(0));
    for (int64_t i = 0; i < loads * kLoad / 2; i += 2)
      dots = multiply(d, {low.key[i], high.key[i], low.key[i + 1], high.key[i + 1]}, {victim[i], victim[i + 1]}, dots,
                      element);
    RowSquares squares(d, low.key, high.key, element);
    auto take = [&](const Row &row, Value dot, Value squares) {
      // As fast as it gets: with an approximate root the loads of the next tiles wait, 42 us instead of 33.
      Value cosine = d.divF(d.divF(dot, length), normOf(d, squares));
      Value live = d.bitAnd(inside[u], d.bitAnd(d.ge(row.position, d.i32(0)), d.lt(row.slot, h.extent)));
      best = best.orBetter(d, BestSlot{d.subF(d.f32(0), cosine), row.position, row.slot}.onlyIf(d, live));
    };
    take(low, dots[0], squares.of(group, /*upper=*/false));
    take(high, dots[2], squares.of(group, /*upper=*/true));
  }
  return best;
}

static LogicalResult emit(DeviceKernel &k) {
  NearestMatch match(k);
  match.emit([&](HeadMatch &h) {
    Device &d = k.d;
    NearestTile nearest(h);
    Value all = d.divU(d.add(h.extent, d.i32(kSlots - 1)), kSlots);
    // Each lane finds the page of one of the next tiles: the keys then come without a look into the table.
    int64_t together = llvm::bit_floor<uint64_t>(std::max<int64_t>(kLoadsTogether / nearest.loads, 1));
    int64_t rounds = kWarp / together, step = match.warps() * together, ofPage = h.merge.layer.layout.getPage() / kSlots;
    Value first = d.mul(match.warp(), d.i32(together));
    SmallVector<Value> none = BestSlot::none(d).pack();
    SmallVector<Value> best = d.loop(first, all, d.i32(rounds * step), none, [&](Value start, ValueRange outer) {
      Value own = d.add(d.add(start, d.mul(d.divU(d.lane(), together), d.i32(step))), d.remU(d.lane(), together));
      Value page = d.divU(d.select(d.lt(own, all), own, d.i32(0)), ofPage);
      Value physical = k.load(h.merge.layer["table"], {h.merge.sequence, h.head, page});
      Value end = d.minS(d.add(start, d.i32(rounds * step)), all);
      return d.loop(start, end, d.i32(step), outer, [&](Value at, ValueRange in) {
        Value round = d.divU(d.sub(at, start), step);
        SmallVector<Value> tiles, physicals;
        for (int64_t u = 0; u < together; ++u) {
          tiles.push_back(d.add(at, d.i32(u)));
          physicals.push_back(d.shuffle(physical, d.add(d.mul(round, d.i32(together)), d.i32(u))));
        }
        return nearest.compare(tiles, physicals, all, BestSlot::unpack(in)).pack();
      });
    });
    return BestSlot::unpack(best).ofWarp(d, 4);
  });
  return success();
}

const Template sparse::device::matchMmaTemplate{whyNot, emit};
