//===-- MatchSimt.cpp - The targets of a victim: followers, or the nearest key ------------------------------------===//
//
// A warp compares several keys at once. The meaning is that of the linalg lowering (passes/ToLinalg/Merge.cpp).
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Match.h"
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/RowShare.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

/// Times the keys that a warp loads at once.
static constexpr int64_t kTogether = 4;

static bool isNearest(sparsity::MatchOp op) {
  return cast<sparsity::MergePolicyInterface>(op.getPolicy()).getTargets() == sparsity::MergeTargets::Nearest;
}

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto op = cast<sparsity::MatchOp>(headOf(kernel));
  return isNearest(op) ? whyNotWideRows(op.getState().getType().getLayout()) : "";
}

namespace {
struct NearestKey {
  HeadMatch &h;
  Device &d;
  int64_t dim;
  RowShare share;
  SmallVector<Value> unit; // the lane's part of the victim's key, of length 1

  explicit NearestKey(HeadMatch &h)
      : h(h), d(h.d), dim(h.merge.layer.layout.getKeyDim()),
        share(RowShare::over({dim}, h.merge.layer.layout.getElementType())) {
    for (Value part : load(h.victim()))
      unit.push_back(d.toF32(part));
    Value length = normOf(d, dot(unit, unit));
    for (Value &part : unit)
      part = d.divF(part, d.splat(length, share.width));
  }
  /// The lane's part of a slot's key.
  SmallVector<Value> load(Value slot) {
    Span key = keyOfSlot(h, slot);
    SmallVector<Value> parts;
    for (int64_t j = 0; j < share.loads(dim); ++j)
      parts.push_back(d.load(key, share.channel(d, j), share.width));
    return parts;
  }
  Value dot(ArrayRef<Value> a, ArrayRef<Value> c) {
    Value products = d.zero(VectorType::get({share.width}, d.b.getF32Type()));
    for (auto [x, y] : llvm::zip(a, c))
      products = d.fma(x, y, products);
    return d.warpSum(d.sumOf(products), share.lanes);
  }
  /// The best of some slots that the lane takes part in, and of `best`.
  BestSlot compare(Value start, BestSlot best);
};
} // namespace

BestSlot NearestKey::compare(Value start, BestSlot best) {
  SmallVector<Value> slots, positions, inside;
  SmallVector<SmallVector<Value>> keys;
  for (int64_t i = 0; i < kTogether; ++i) {
    Value slot = d.add(d.add(start, d.i32(i * share.rows)), share.row(d));
    inside.push_back(d.lt(slot, h.extent));
    slots.push_back(d.select(inside.back(), slot, d.i32(0)));
    positions.push_back(h.positionOf(slots.back()));
    keys.push_back(load(slots.back()));
  }
  for (int64_t i = 0; i < kTogether; ++i) {
    SmallVector<Value> key = llvm::map_to_vector(keys[i], [&](Value part) { return d.toF32(part); });
    Value cosine = d.divF(dot(unit, key), normOf(d, dot(key, key)));
    Value counts = d.bitAnd(inside[i], d.ge(positions[i], d.i32(0)));
    best = best.orBetter(d, BestSlot{d.subF(d.f32(0), cosine), positions[i], slots[i]}.onlyIf(d, counts));
  }
  return best;
}

static LogicalResult emit(DeviceKernel &k) {
  if (!isNearest(cast<sparsity::MatchOp>(k.ops.front()))) {
    emitFollowing(k);
    return success();
  }
  NearestMatch match(k);
  match.emit([&](HeadMatch &h) {
    Device &d = k.d;
    NearestKey nearest(h);
    int64_t atOnce = kTogether * nearest.share.rows;
    Value first = d.mul(match.warp(), d.i32(atOnce)), step = d.i32(match.warps() * atOnce);
    SmallVector<Value> best = d.loop(first, h.extent, step, BestSlot::none(d).pack(), [&](Value start, ValueRange in) {
      return nearest.compare(start, BestSlot::unpack(in)).pack();
    });
    return BestSlot::unpack(best).ofWarp(d, nearest.share.lanes);
  });
  return success();
}

const Template sparse::device::matchSimtTemplate{whyNot, emit};
