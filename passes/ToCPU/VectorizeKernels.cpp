//===-- VectorizeKernels.cpp - Tiles of linalg to vectors ---------------------------------------------------------===//
//
// Contractions (linear layers, scores, weighted sums of values) become register tiles: accumulators in vectors over the
// columns, one broadcast per row and step. Everything else that is small and static goes through the upstream
// vectorizer.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/Passes.h"
#include "passes/ToLinalg/StoredNumbers.h"

#include "mlir/Dialect/Linalg/Transforms/Transforms.h"

namespace sparse {
#define GEN_PASS_DEF_VECTORIZEKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

/// Lanes of one vector register (f32) that code is laid out for, and the accumulators it should hold at most.
static constexpr int64_t kLanes = 16, kAccumulators = 24;
/// Largest tile that the upstream vectorizer may turn into straight-line vectors.
static constexpr int64_t kLargestTile = 2048;

static int64_t largestDivisor(int64_t n, int64_t most) {
  for (int64_t d = std::min(n, most); d > 1; --d)
    if (n % d == 0)
      return d;
  return 1;
}

/// Whether `op` is out[m, n] += a[m, k] * b[k, n] with loops (m, k, n), a f32.
static bool isContraction(linalg::GenericOp op) {
  using Iter = utils::IteratorType;
  if (op.getNumDpsInputs() != 2 || op.getNumDpsInits() != 1 || !op.hasPureTensorSemantics())
    return false;
  if (op.getIteratorTypesArray() != SmallVector<Iter>{Iter::parallel, Iter::reduction, Iter::parallel})
    return false;
  MLIRContext *context = op.getContext();
  AffineExpr m = getAffineDimExpr(0, context), k = getAffineDimExpr(1, context), n = getAffineDimExpr(2, context);
  auto maps = op.getIndexingMapsArray();
  if (maps[0] != AffineMap::get(3, 0, {m, k}, context) || maps[1] != AffineMap::get(3, 0, {k, n}, context) ||
      maps[2] != AffineMap::get(3, 0, {m, n}, context))
    return false;
  for (Value operand : op->getOperands())
    if (!cast<RankedTensorType>(operand.getType()).hasStaticShape())
      return false;
  auto yield = cast<linalg::YieldOp>(op.getBody()->getTerminator());
  auto add = yield.getOperand(0).getDefiningOp<arith::AddFOp>();
  return add && add.getLhs() == op.getBody()->getArgument(2) && add.getRhs().getDefiningOp<arith::MulFOp>();
}

namespace {

/// Register tiles of one contraction.
class Contraction {
public:
  Contraction(RewriterBase &rewriter, linalg::GenericOp op)
      : b(rewriter), op(op), loc(op.getLoc()), lhs(op.getInputs()[0]), rhs(op.getInputs()[1]),
        out(op.getOutputs()[0]) {
    ArrayRef<int64_t> l = cast<RankedTensorType>(lhs.getType()).getShape();
    auto r = cast<RankedTensorType>(rhs.getType());
    rows = l[0];
    depth = l[1];
    columns = r.getDimSize(1);
    element = r.getElementType();
    // Partial sums hide the latency of narrow tiles. Their number depends on the columns and the depth alone, so that a
    // row is added up in the same order whatever the number of rows.
    if (auto fill = out.getDefiningOp<linalg::FillOp>())
      start = fill.getInputs()[0];
    partial = largestDivisor(depth, std::max<int64_t>(1, 4 * kLanes / std::max(columns, kLanes)));
  }

  void rewrite();

private:
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
  Value read(Value tensor, Value row, int64_t column, int64_t width);
  Value columnTile(Value result, int64_t firstRow, int64_t height, int64_t column, int64_t width);

  RewriterBase &b;
  linalg::GenericOp op;
  Location loc;
  Value lhs, rhs, out;
  Value start; // the scalar that `out` is filled with, if it is: then it need not be read
  int64_t rows, depth, columns, partial;
  Type element;
};

} // namespace

Value Contraction::read(Value tensor, Value row, int64_t column, int64_t width) {
  Type type = cast<RankedTensorType>(tensor.getType()).getElementType();
  Value padding = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
  Value vector = vector::TransferReadOp::create(b, loc, VectorType::get({width}, type), tensor,
                                                ValueRange{row, index(column)}, padding, ArrayRef<bool>{true});
  return lowering::readStored(b, loc, vector);
}

/// Adds up rows [firstRow, firstRow + height) of columns [column, column + width) into `result`.
Value Contraction::columnTile(Value result, int64_t firstRow, int64_t height, int64_t column, int64_t width) {
  auto type = VectorType::get({width}, b.getF32Type());
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
  SmallVector<Value> init; // [partial][row]
  for (int64_t part = 0; part < partial; ++part)
    for (int64_t row = 0; row < height; ++row)
      init.push_back(part > 0 ? zero
                     : start  ? Value(vector::BroadcastOp::create(b, loc, type, start))
                              : read(result, index(firstRow + row), column, width));
  auto loop = scf::ForOp::create(
      b, loc, index(0), index(depth), index(partial), init, [&](OpBuilder &, Location, Value k, ValueRange sums) {
        SmallVector<Value> next;
        for (int64_t part = 0; part < partial; ++part) {
          Value step = part == 0 ? k : Value(arith::AddIOp::create(b, loc, k, index(part)));
          Value right = read(rhs, step, column, width);
          for (int64_t row = 0; row < height; ++row) {
            Value left = tensor::ExtractOp::create(b, loc, lhs, ValueRange{index(firstRow + row), step});
            Value spread = vector::BroadcastOp::create(b, loc, type, left);
            // One rounding where the target has the instruction. Left to the code generator, the choice among several
            // products would depend on how far it unrolls, and the bits of a row on its company.
            next.push_back(LLVM::FMulAddOp::create(b, loc, type, spread, right, sums[part * height + row]));
          }
        }
        scf::YieldOp::create(b, loc, next);
      });
  for (int64_t row = 0; row < height; ++row) {
    SmallVector<Value> sums;
    for (int64_t part = 0; part < partial; ++part)
      sums.push_back(loop.getResult(part * height + row));
    while (sums.size() > 1) { // pairwise
      SmallVector<Value> half;
      for (size_t i = 0; i + 1 < sums.size(); i += 2)
        half.push_back(arith::AddFOp::create(b, loc, sums[i], sums[i + 1]));
      if (sums.size() % 2)
        half.push_back(sums.back());
      sums = half;
    }
    result = vector::TransferWriteOp::create(b, loc, sums[0], result, ValueRange{index(firstRow + row), index(column)},
                                             ArrayRef<bool>{true})
                 .getResult();
  }
  return result;
}

void Contraction::rewrite() {
  b.setInsertionPoint(op);
  int64_t height = largestDivisor(rows, kAccumulators / partial);
  int64_t width = largestDivisor(columns, std::max<int64_t>(kLanes, kAccumulators / (height * partial) * kLanes));
  width = std::min<int64_t>(width, 4 * kLanes);
  width = largestDivisor(columns, width);
  Value result = out;
  if (start)
    result = tensor::EmptyOp::create(b, loc, ArrayRef<int64_t>{rows, columns}, b.getF32Type());
  for (int64_t row = 0; row < rows; row += height)
    for (int64_t column = 0; column < columns; column += width)
      result = columnTile(result, row, height, column, width);
  b.replaceOp(op, result);
}

namespace {
class VectorizeKernels : public sparse::impl::VectorizeKernelsPassBase<VectorizeKernels> {
public:
  void runOnOperation() override {
    SmallVector<Operation *> kernels;
    getOperation().walk([&](Operation *kernel) {
      if (!isa<plan::KernelOp, func::FuncOp>(kernel))
        return;
      auto config = kernel->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config");
      if (config && config.getStrategy() == sparsity::Strategy::Vector)
        kernels.push_back(kernel);
    });
    IRRewriter rewriter(&getContext());
    for (Operation *kernel : kernels) {
      // Contractions first: they look at the fills that feed them.
      SmallVector<linalg::GenericOp> contractions;
      SmallVector<linalg::LinalgOp> others;
      kernel->walk([&](linalg::LinalgOp op) {
        auto generic = dyn_cast<linalg::GenericOp>(op.getOperation());
        if (generic && isContraction(generic))
          contractions.push_back(generic);
        else
          others.push_back(op);
      });
      for (linalg::GenericOp op : contractions)
        Contraction(rewriter, op).rewrite();
      for (linalg::LinalgOp op : others)
        vectorize(rewriter, op);
    }
  }

private:
  void vectorize(IRRewriter &rewriter, linalg::LinalgOp op) {
    SmallVector<int64_t> loops = op.getStaticLoopRanges();
    int64_t size = 1;
    for (int64_t extent : loops) {
      if (ShapedType::isDynamic(extent))
        return;
      size *= extent;
    }
    // Reads of single elements (embedding, rotary) stay loops.
    bool reads = !op->getRegion(0).getOps<tensor::ExtractOp>().empty();
    if (size > kLargestTile || reads || loops.empty())
      return;
    rewriter.setInsertionPoint(op);
    FailureOr<linalg::VectorizationResult> result = linalg::vectorize(rewriter, op);
    if (succeeded(result))
      rewriter.replaceOp(op, result->replacements);
  }
};
} // namespace
