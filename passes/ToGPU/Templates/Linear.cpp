//===-- Linear.cpp - Linear layers of a few rows, by warps --------------------------------------------------------===//
//
// A warp computes `outputs` neighbouring outputs of every row of a tile: its lanes stream the weights 16 bytes at a time,
// several loads in flight, multiply them by the inputs (which stay in the caches) and add up in f32; a tree over the lanes
// ends it. Each weight is read once per tile of rows. The order of additions depends on the depth alone.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Epilogue.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfBlock = 8, kMostRows = 8, kLoadsInFlight = 8;
/// Sums that a lane keeps for an output: additions that don't wait for each other.
static constexpr int64_t kChains = 2;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Weights that a lane loads at once.
static int64_t weightsOfLoad(Type element) { return 128 / element.getIntOrFloatBitWidth(); }

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto linear = cast<sparsity::LinearOp>(headOf(kernel));
  RankedTensorType weight = tensorType(linear.getWeight());
  if (weight.getDimSize(2) != 1)
    return "weights are packed in panels; a warp reads the weights of one output";
  if (weight.getDimSize(1) % weightsOfLoad(weight.getElementType()) != 0)
    return "a depth of " + std::to_string(weight.getDimSize(1)) + " is no multiple of 16 bytes of weights";
  return "";
}

namespace {
/// The sums of one warp.
struct WarpProduct {
  DeviceKernel &k;
  Device &d;
  Buffer x, weight;
  int64_t rows, outputs, depth, width; // rows of the tile; outputs of the warp; weights of a load
  Value firstRow, firstOutput, lane;

  SmallVector<Value> sums() const; // [output][row]

private:
  void step(Value chunk, SmallVectorImpl<Value> &partial, Value valid = {}) const;
};
} // namespace

/// Adds the products of one load per output: depths [chunk * width, (chunk + 1) * width).
void WarpProduct::step(Value chunk, SmallVectorImpl<Value> &partial, Value valid) const {
  Value at = d.mul(chunk, d.i32(width));
  auto product = [&]() -> SmallVector<Value> {
    SmallVector<Value> weights, next(partial.begin(), partial.end());
    for (int64_t o = 0; o < outputs; ++o)
      weights.push_back(k.loadConstant(weight, {d.add(firstOutput, d.i32(o)), at, d.i32(0)}, width));
    for (Value &weight : weights)
      weight = d.toF32(weight);
    for (int64_t r = 0; r < rows; ++r) {
      Value inputs = d.toF32(k.load(x, {d.add(firstRow, d.i32(r)), at}, width));
      for (int64_t o = 0; o < outputs; ++o)
        for (int64_t i = 0; i < width; ++i) {
          Value &sum = next[(o * rows + r) * kChains + i % kChains];
          sum = d.fma(d.element(weights[o], i), d.element(inputs, i), sum);
        }
    }
    return next;
  };
  SmallVector<Value> next =
      valid ? d.ifThenElse(valid, product, [&] { return SmallVector<Value>(partial.begin(), partial.end()); })
            : product();
  partial.assign(next.begin(), next.end());
}

SmallVector<Value> WarpProduct::sums() const {
  int64_t chunks = depth / width, unroll = std::max<int64_t>(1, kLoadsInFlight / outputs);
  int64_t whole = chunks / (kWarp * unroll) * (kWarp * unroll);
  SmallVector<Value> partial(outputs * rows * kChains, d.f32(0));
  if (whole > 0)
    partial = d.loop(d.i32(0), d.i32(whole), d.i32(kWarp * unroll), partial, [&](Value first, ValueRange carried) {
      SmallVector<Value> next(carried);
      for (int64_t u = 0; u < unroll; ++u)
        step(d.add(d.add(first, lane), d.i32(u * kWarp)), next);
      return next;
    });
  int64_t rest = whole;
  for (; rest + kWarp <= chunks; rest += kWarp)
    step(d.add(d.i32(rest), lane), partial);
  if (rest < chunks)
    step(d.add(d.i32(rest), lane), partial, d.lt(lane, d.i32(chunks - rest)));
  SmallVector<Value> out;
  for (int64_t i = 0; i < outputs * rows; ++i) {
    Value sum = partial[i * kChains];
    for (int64_t c = 1; c < kChains; ++c)
      sum = d.addF(sum, partial[i * kChains + c]);
    out.push_back(d.warpSum(sum));
  }
  return out;
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto linear = cast<sparsity::LinearOp>(k.ops.front());
  Buffer &weight = k.buffer(linear.getWeight()), &x = k.buffer(linear.getX());
  int64_t total = x.size(0), outputs = weight.size(0);
  int64_t rows = std::min(total, kMostRows);
  while (total % rows != 0)
    --rows;
  // More outputs a warp share the reads of the inputs; fewer keep all multiprocessors busy.
  int64_t ofWarp = 4;
  while (ofWarp > 1 && (outputs % ofWarp != 0 || ofWarp * rows > kWarp ||
                        outputs / ofWarp < 2 * kWarpsOfBlock * k.target.getMultiprocessors()))
    ofWarp /= 2;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(outputs, ofWarp * kWarpsOfBlock)), total / rows, 1};
  k.block = {kWarp * kWarpsOfBlock, 1, 1};

  Value lane = d.lane();
  Value firstOutput = d.mul(d.add(d.mul(d.blockId(0), d.i32(kWarpsOfBlock)), d.warp()), d.i32(ofWarp));
  Value firstRow = d.mul(d.blockId(1), d.i32(rows));
  LogicalResult status = success();
  d.ifThen(d.lt(firstOutput, d.i32(outputs)), [&] {
    WarpProduct product{k, d, x, weight, rows, ofWarp, weight.size(1), weightsOfLoad(weight.span.element), firstRow,
                        firstOutput, lane};
    SmallVector<Value> sums = product.sums();
    // Lane i takes sum i.
    Value mine = sums[0];
    for (int64_t i = 1; i < static_cast<int64_t>(sums.size()); ++i)
      mine = d.select(d.eq(lane, d.i32(i)), sums[i], mine);
    d.ifThen(d.lt(lane, d.i32(sums.size())), [&] {
      Value row = d.add(firstRow, d.remU(lane, rows)), column = d.add(firstOutput, d.divU(lane, rows));
      FailureOr<Value> out = applyEpilogue(k, linear.getOut(), mine, row, column);
      if (failed(out))
        status = failure();
      else
        k.store(*out, k.results[0], {row, column});
    });
  });
  return status;
}

const Template sparse::device::linearTemplate{whyNot, emit};
