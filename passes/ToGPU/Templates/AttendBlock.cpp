//===-- AttendBlock.cpp - States of online softmax, and how a block folds its warps' ------------------------------===//
#include "passes/ToGPU/Templates/AttendBlock.h"

using namespace sparse;
using namespace sparse::device;

Value sparse::device::capScore(Device &d, Value score, double softcap) {
  if (softcap == 0)
    return score;
  Value tanh = math::TanhOp::create(d.b, d.loc, d.divF(score, d.f32(softcap)));
  return d.mulF(tanh, d.f32(softcap * kBinaryOfNatural));
}

Value sparse::device::storedTop(Device &d, Value top) { return d.mulF(top, d.f32(kNaturalOfBinary)); }
Value sparse::device::loadedTop(Device &d, Value stored) { return d.mulF(stored, d.f32(kBinaryOfNatural)); }

SmallVector<Value> sparse::device::foldStates(Device &d, ValueRange carried, ValueRange tops, ValueRange sums,
                                              ValueRange values, ValueRange there) {
  Value top = carried[0];
  SmallVector<Value> seen;
  for (auto [own, isThere] : llvm::zip(tops, there)) {
    seen.push_back(d.select(isThere, own, d.f32(kHidden)));
    top = d.maxF(top, seen.back());
  }
  Value before = d.exp2(d.subF(carried[0], top));
  Value sum = d.mulF(carried[1], before), folded = d.mulF(carried[2], d.splat(before, 4));
  for (auto [own, ownSum, ownValues, isThere] : llvm::zip(seen, sums, values, there)) {
    Value factor = d.exp2(d.subF(own, top));
    // What was never written may be anything, also NaN.
    sum = d.select(isThere, d.fma(factor, ownSum, sum), sum);
    folded = d.select(isThere, d.fma(d.splat(factor, 4), ownValues, folded), folded);
  }
  return {top, sum, folded};
}

Value sparse::device::shuffleEach(Device &d, Value value, int64_t mask) {
  auto type = dyn_cast<VectorType>(value.getType());
  if (!type)
    return d.shuffleXor(value, mask);
  SmallVector<Value> parts;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    parts.push_back(d.shuffleXor(d.element(value, i), mask));
  return vector::FromElementsOp::create(d.b, d.loc, type, parts);
}

AttendState AttendState::empty(Device &d, int64_t heads, int64_t values, int64_t width) {
  Type f32 = d.b.getF32Type();
  Type part = width == 1 ? f32 : Type(VectorType::get({width}, f32));
  return {SmallVector<Value>(heads, d.f32(kHidden)), SmallVector<Value>(heads, d.f32(0)),
          SmallVector<Value>(values, d.zero(part))};
}

AttendState AttendState::unpack(ValueRange packed, int64_t heads) {
  return {SmallVector<Value>(packed.take_front(heads)), SmallVector<Value>(packed.slice(heads, heads)),
          SmallVector<Value>(packed.drop_front(2 * heads))};
}

SmallVector<Value> AttendState::pack() const {
  SmallVector<Value> packed(top);
  llvm::append_range(packed, sum);
  llvm::append_range(packed, values);
  return packed;
}

int64_t AttendBlock::warpsFor(int64_t heads, int64_t valueDim) {
  return std::clamp<int64_t>(llvm::bit_floor(static_cast<uint64_t>(8192 / (heads * valueDim))), 1, 8);
}

AttendBlock::AttendBlock(DeviceKernel &k, int64_t heads, int64_t valueDim, int64_t warps)
    : d(k.d), heads(heads), valueDim(valueDim), warps(warps), threads(warps * kWarp) {
  Type f32 = d.b.getF32Type();
  values = d.shared(f32, warps * heads * valueDim, "values");
  states = d.shared(f32, warps * heads * 2, "states");
}

void AttendBlock::putValues(Value head, Value channel, Value part) {
  Value start = d.add(d.mul(d.add(d.mul(d.warp(), d.i32(heads)), head), d.i32(valueDim)), channel);
  int64_t width = cast<VectorType>(part.getType()).getNumElements();
  for (int64_t i = 0; i < width; i += 4)
    d.store(vector::ExtractStridedSliceOp::create(d.b, d.loc, part, ArrayRef<int64_t>{i}, ArrayRef<int64_t>{4},
                                                  ArrayRef<int64_t>{1}),
            values, d.add(start, d.i32(i)));
}

void AttendBlock::putState(Value head, Value top, Value sum) {
  Value at = d.mul(d.add(d.mul(d.warp(), d.i32(heads)), head), d.i32(2));
  d.store(top, states, at);
  d.store(sum, states, d.add(at, d.i32(1)));
}

void AttendBlock::fold(function_ref<void(Value, Value, Value, Value, Value)> use) {
  int64_t chunks = valueDim / 4;
  d.loop(d.threadId(), d.i32(heads * chunks), d.i32(threads), [&](Value chunk) {
    Value head = d.divU(chunk, chunks), channel = d.mul(d.remU(chunk, chunks), d.i32(4));
    SmallVector<Value> tops, sums;
    Value top = d.f32(kHidden), sum = d.f32(0);
    for (int64_t w = 0; w < warps; ++w) {
      Value at = d.mul(d.add(head, d.i32(w * heads)), d.i32(2));
      tops.push_back(d.load(states, at));
      sums.push_back(d.load(states, d.add(at, d.i32(1))));
      top = d.maxF(top, tops[w]);
    }
    Value folded = d.zero(VectorType::get({4}, d.b.getF32Type()));
    for (int64_t w = 0; w < warps; ++w) {
      Value factor = d.exp2(d.subF(tops[w], top));
      Value part = d.load(values, d.add(d.mul(d.add(head, d.i32(w * heads)), d.i32(valueDim)), channel), 4);
      sum = d.fma(factor, sums[w], sum);
      folded = d.fma(d.splat(factor, 4), part, folded);
    }
    use(head, channel, top, sum, folded);
  });
}
