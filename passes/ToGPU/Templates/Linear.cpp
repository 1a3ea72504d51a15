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
/// Warps that a multiprocessor needs to keep the memory busy.
static constexpr int64_t kLeastWarps = 12;
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
/// The sums of one warp. Weights are loaded a group of chunks ahead of their use: `prefetch` starts the first group, `sums`
/// multiplies. A chunk is what the lanes of the warp load at once.
struct WarpProduct {
  DeviceKernel &k;
  Device &d;
  Buffer x;
  Span normal; // the normalised rows in shared memory; no base without a norm
  SmallVector<Buffer> weights;
  int64_t rows, outputs, depth, width; // rows of the tile; outputs of the warp; weights of a load
  Value firstRow, firstOutput, lane;
  SmallVector<Value> ahead; // weights on their way

  void prefetch();
  SmallVector<Value> sums(); // [layer][output][row]

private:
  int64_t streams() const { return weights.size() * outputs; }
  int64_t loads() const { return depth / width; }                                         // of one output
  int64_t chunksOfGroup() const { return std::max<int64_t>(1, kLoadsInFlight / streams()); }
  int64_t groups() const { return loads() / (kWarp * chunksOfGroup()); }                  // whole ones
  int64_t restOfChunks() const { return llvm::divideCeil(loads() - groups() * kWarp * chunksOfGroup(), kWarp); }

  Value inputs(int64_t row, Value at) const;
  SmallVector<Value> load(Value firstLoad, int64_t chunks, bool mayEnd) const;
  void multiply(ValueRange loaded, Value firstLoad, int64_t chunks, bool mayEnd, MutableArrayRef<Value> partial) const;
};
} // namespace

Value WarpProduct::inputs(int64_t row, Value at) const {
  if (normal.base)
    return d.load(normal, d.add(at, d.i32(row * depth)), width);
  return d.toF32(k.load(x, {d.add(firstRow, d.i32(row)), at}, width));
}

/// The weights of `chunks` chunks from load `firstLoad` on; `mayEnd`: loads past the end give zeros.
SmallVector<Value> WarpProduct::load(Value firstLoad, int64_t chunks, bool mayEnd) const {
  SmallVector<Value> loaded;
  for (int64_t c = 0; c < chunks; ++c) {
    Value index = d.add(d.add(firstLoad, lane), d.i32(c * kWarp)), last = d.i32(loads() - 1);
    Value at = d.mul(mayEnd ? d.minS(index, last) : index, d.i32(width));
    for (const Buffer &weight : weights)
      for (int64_t o = 0; o < outputs; ++o) {
        Value chunk = d.loadOnce(weight.span, k.offsetOf(weight, {d.add(firstOutput, d.i32(o)), at, d.i32(0)}));
        if (mayEnd)
          chunk = d.select(d.cmp(arith::CmpIPredicate::sle, index, last), chunk, d.zero(chunk.getType()));
        loaded.push_back(chunk);
      }
  }
  return loaded;
}

void WarpProduct::multiply(ValueRange loaded, Value firstLoad, int64_t chunks, bool mayEnd,
                           MutableArrayRef<Value> partial) const {
  for (int64_t c = 0; c < chunks; ++c) {
    Value index = d.add(d.add(firstLoad, lane), d.i32(c * kWarp));
    Value at = d.mul(mayEnd ? d.minS(index, d.i32(loads() - 1)) : index, d.i32(width));
    SmallVector<Value> chunk;
    for (Value weight : loaded.slice(c * streams(), streams()))
      chunk.push_back(d.toF32(weight));
    for (int64_t r = 0; r < rows; ++r) {
      Value input = inputs(r, at);
      for (int64_t s = 0; s < streams(); ++s)
        for (int64_t i = 0; i < width; ++i) {
          Value &sum = partial[(s * rows + r) * kChains + i % kChains];
          sum = d.fma(d.element(chunk[s], i), d.element(input, i), sum);
        }
    }
  }
}

void WarpProduct::prefetch() {
  bool whole = groups() > 0;
  ahead = load(d.i32(0), whole ? chunksOfGroup() : restOfChunks(), /*mayEnd=*/!whole);
}

SmallVector<Value> WarpProduct::sums() {
  SmallVector<Value> partial(streams() * rows * kChains, d.f32(0));
  int64_t group = kWarp * chunksOfGroup(), end = groups() * group, rest = restOfChunks();
  if (groups() > 1) {
    SmallVector<Value> init(partial);
    llvm::append_range(init, ahead);
    size_t sums = partial.size();
    SmallVector<Value> folded =
        d.loop(d.i32(0), d.opaque(end - group), d.i32(group), init, [&](Value first, ValueRange carried) {
          SmallVector<Value> next = load(d.add(first, d.i32(group)), chunksOfGroup(), false);
          SmallVector<Value> result(carried.take_front(sums));
          multiply(carried.drop_front(sums), first, chunksOfGroup(), false, result);
          llvm::append_range(result, next);
          return result;
        });
    partial.assign(folded.begin(), folded.begin() + sums);
    ahead.assign(folded.begin() + sums, folded.end());
  }
  if (groups() > 0) {
    SmallVector<Value> tail = load(d.i32(end), rest, true);
    multiply(ahead, d.i32(end - group), chunksOfGroup(), false, partial);
    ahead = tail;
  }
  multiply(ahead, d.i32(end), rest, true, partial);
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
                        outputs / ofWarp < kLeastWarps * k.target.getMultiprocessors()))
    ofWarp /= 2;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(outputs, ofWarp * kWarpsOfBlock)), total / rows, 1};
  k.block = {kWarp * kWarpsOfBlock, 1, 1};

  Value lane = d.lane();
  Value firstOutput = d.mul(d.add(d.mul(d.blockId(0), d.i32(kWarpsOfBlock)), d.warp()), d.i32(ofWarp));
  Value firstRow = d.mul(d.blockId(1), d.i32(rows));
  // Warps past the end repeat the last outputs and store nothing.
  WarpProduct product{k, d, x, {}, weights, rows, ofWarp, weights[0].size(1), weightsOfLoad(weights[0].span.element),
                      firstRow, d.minS(firstOutput, d.i32(outputs - ofWarp)), lane, {}};
  // Weights don't depend on the launch before: they are on their way while it ends.
  d.allowNextLaunch();
  product.prefetch();
  d.waitForLaunchBefore();
  if (norm)
    product.normal = normalise(k, norm, rows, firstRow);
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
  LogicalResult status = success();
  Value stores = d.bitAnd(d.lt(lane, d.i32(ofLayer)), d.lt(firstOutput, d.i32(outputs)));
  d.ifThen(stores, [&] {
    Value row = d.add(firstRow, d.remU(lane, rows)), column = d.add(firstOutput, d.divU(lane, rows));
    FailureOr<Value> out = applyEpilogue(k, mine, row, column);
    if (failed(out))
      status = failure();
    else
      k.store(d.fromF32(*out, k.results[0].span.element), k.results[0], {row, column});
  });
  return status;
}

const Template sparse::device::linearTemplate{whyNot, emit, /*waitsItself=*/true};
