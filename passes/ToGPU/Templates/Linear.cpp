//===-- Linear.cpp - Linear layers of a few rows, by warps --------------------------------------------------------===//
//
// A warp computes `outputs` neighbouring outputs of every row of a tile, of one linear layer or of several with the same
// input (gate and up): its lanes stream the weights 16 bytes at a time, several loads in flight, multiply them by the
// inputs and add up in f32; a tree over the lanes ends it. Each weight is read once per tile of rows. The order of additions
// depends on the depth alone. With a norm in front the block normalises the rows into shared memory first.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Epilogue.h"
#include "passes/ToGPU/Templates/RowNorm.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfBlock = 8, kMostRows = 8, kLoadsInFlight = 8;
/// Sums that a lane keeps for an output: additions that don't wait for each other.
static constexpr int64_t kChains = 2;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Weights that a lane loads at once.
static int64_t weightsOfLoad(Type element) { return 128 / element.getIntOrFloatBitWidth(); }

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr target) {
  for (auto linear : kernel.getBlock()->getOps<sparsity::LinearOp>()) {
    RankedTensorType weight = tensorType(linear.getWeight());
    if (weight.getDimSize(2) != 1)
      return "weights are packed in panels; a warp reads the weights of one output";
    if (weight.getDimSize(1) % weightsOfLoad(weight.getElementType()) != 0)
      return "a depth of " + std::to_string(weight.getDimSize(1)) + " is no multiple of 16 bytes of weights";
  }
  for (auto norm : kernel.getBlock()->getOps<onnx::RMSNormalizationOp>()) {
    RankedTensorType x = tensorType(norm.getX());
    if (x.getDimSize(1) % kNormWidth != 0 || x.getNumElements() * 4 > target.getSharedMemory())
      return "the rows that it normalises don't fit in shared memory";
  }
  return "";
}

namespace {
/// The sums of one warp.
struct WarpProduct {
  DeviceKernel &k;
  Device &d;
  Buffer x;
  Span normal; // the normalised rows in shared memory; no base without a norm
  SmallVector<Buffer> weights;
  int64_t rows, outputs, depth, width; // rows of the tile; outputs of the warp; weights of a load
  Value firstRow, firstOutput, lane;

  SmallVector<Value> sums() const; // [layer][output][row]

private:
  int64_t streams() const { return weights.size() * outputs; }
  Value inputs(int64_t row, Value at) const;
  void step(Value chunk, SmallVectorImpl<Value> &partial, Value valid = {}) const;
};
} // namespace

Value WarpProduct::inputs(int64_t row, Value at) const {
  if (normal.base)
    return d.load(normal, d.add(at, d.i32(row * depth)), width);
  return d.toF32(k.load(x, {d.add(firstRow, d.i32(row)), at}, width));
}

/// Adds the products of one load per output: depths [chunk * width, (chunk + 1) * width).
void WarpProduct::step(Value chunk, SmallVectorImpl<Value> &partial, Value valid) const {
  Value at = d.mul(chunk, d.i32(width));
  auto product = [&]() -> SmallVector<Value> {
    SmallVector<Value> loaded, next(partial.begin(), partial.end());
    for (const Buffer &weight : weights)
      for (int64_t o = 0; o < outputs; ++o)
        loaded.push_back(k.loadConstant(weight, {d.add(firstOutput, d.i32(o)), at, d.i32(0)}, width));
    for (Value &weight : loaded)
      weight = d.toF32(weight);
    for (int64_t r = 0; r < rows; ++r) {
      Value x = inputs(r, at);
      for (int64_t s = 0; s < streams(); ++s)
        for (int64_t i = 0; i < width; ++i) {
          Value &sum = next[(s * rows + r) * kChains + i % kChains];
          sum = d.fma(d.element(loaded[s], i), d.element(x, i), sum);
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
  int64_t chunks = depth / width, unroll = std::max<int64_t>(1, kLoadsInFlight / streams());
  int64_t whole = chunks / (kWarp * unroll) * (kWarp * unroll);
  SmallVector<Value> partial(streams() * rows * kChains, d.f32(0));
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
  for (int64_t i = 0; i < streams() * rows; ++i) {
    Value sum = partial[i * kChains];
    for (int64_t c = 1; c < kChains; ++c)
      sum = d.addF(sum, partial[i * kChains + c]);
    out.push_back(d.warpSum(sum));
  }
  return out;
}

/// The rows of the tile, normalised, in shared memory.
static Span normalise(DeviceKernel &k, onnx::RMSNormalizationOp norm, int64_t rows, Value firstRow) {
  Device &d = k.d;
  Buffer &x = k.buffer(norm.getX()), &scale = k.buffer(norm.getScale());
  int64_t depth = x.size(1), threads = kWarpsOfBlock * kWarp;
  k.dynamicShared = rows * depth * 4;
  Span normal = d.dynamicShared(d.b.getF32Type(), 0);
  for (int64_t r = 0; r < rows; ++r) {
    Value row = d.add(firstRow, d.i32(r));
    Value inverse = inverseRms(k, x, row, d.i32(0), depth, norm.getEpsilon().convertToDouble(), kWarpsOfBlock);
    d.loop(d.threadId(), d.i32(depth / kNormWidth), d.i32(threads), [&](Value chunk) {
      Value column = d.mul(chunk, d.i32(kNormWidth));
      Value scaled = d.mulF(d.toF32(k.load(x, {row, column}, kNormWidth)), d.splat(inverse, kNormWidth));
      d.store(d.mulF(scaled, d.toF32(k.loadConstant(scale, {column}, kNormWidth))), normal,
              d.add(column, d.i32(r * depth)));
    });
  }
  d.barrier();
  return normal;
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  SmallVector<sparsity::LinearOp> linears;
  onnx::RMSNormalizationOp norm;
  for (Operation *op : k.ops) {
    if (auto linear = dyn_cast<sparsity::LinearOp>(op))
      linears.push_back(linear);
    else if (auto found = dyn_cast<onnx::RMSNormalizationOp>(op))
      norm = found;
  }
  SmallVector<Buffer> weights;
  for (sparsity::LinearOp linear : linears)
    weights.push_back(k.buffer(linear.getWeight()));
  Buffer &x = norm ? k.buffer(norm.getX()) : k.buffer(linears[0].getX());
  int64_t total = x.size(0), outputs = weights[0].size(0), layers = linears.size();
  int64_t rows = std::min(total, kMostRows);
  while (total % rows != 0)
    --rows;
  // More outputs a warp share the reads of the inputs; fewer keep all multiprocessors busy.
  int64_t ofWarp = 4;
  while (ofWarp > 1 && (outputs % ofWarp != 0 || ofWarp * rows > kWarp || ofWarp * layers > 4 ||
                        outputs / ofWarp < 2 * kWarpsOfBlock * k.target.getMultiprocessors()))
    ofWarp /= 2;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(outputs, ofWarp * kWarpsOfBlock)), total / rows, 1};
  k.block = {kWarp * kWarpsOfBlock, 1, 1};

  Value lane = d.lane();
  Value firstOutput = d.mul(d.add(d.mul(d.blockId(0), d.i32(kWarpsOfBlock)), d.warp()), d.i32(ofWarp));
  Value firstRow = d.mul(d.blockId(1), d.i32(rows));
  Span normal = norm ? normalise(k, norm, rows, firstRow) : Span{};
  LogicalResult status = success();
  d.ifThen(d.lt(firstOutput, d.i32(outputs)), [&] {
    WarpProduct product{k,      d,     x, normal, weights, rows, ofWarp, weights[0].size(1), weightsOfLoad(weights[0].span.element),
                        firstRow, firstOutput, lane};
    SmallVector<Value> sums = product.sums();
    // Lane i takes sum i of every layer.
    DenseMap<Value, Value> mine;
    int64_t ofLayer = ofWarp * rows;
    for (auto [layer, linear] : llvm::enumerate(linears)) {
      Value sum = sums[layer * ofLayer];
      for (int64_t i = 1; i < ofLayer; ++i)
        sum = d.select(d.eq(lane, d.i32(i)), sums[layer * ofLayer + i], sum);
      mine[linear.getOut()] = sum;
    }
    d.ifThen(d.lt(lane, d.i32(ofLayer)), [&] {
      Value row = d.add(firstRow, d.remU(lane, rows)), column = d.add(firstOutput, d.divU(lane, rows));
      FailureOr<Value> out = applyEpilogue(k, mine, row, column);
      if (failed(out))
        status = failure();
      else
        k.store(d.fromF32(*out, k.results[0].span.element), k.results[0], {row, column});
    });
  });
  return status;
}

const Template sparse::device::linearTemplate{whyNot, emit};
