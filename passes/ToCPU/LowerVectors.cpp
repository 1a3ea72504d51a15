//===-- LowerVectors.cpp - Vector ops that LLVM has no form for ---------------------------------------------------===//
#include "passes/Passes.h"

#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace sparse {
#define GEN_PASS_DEF_LOWERVECTORSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;

namespace {

/// A sum over one vector as a tree of halves. LLVM keeps the order of additions that it is given: a plain reduction would
/// be one scalar addition after the other.
struct SumAsTree : OpRewritePattern<vector::ReductionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::ReductionOp op, PatternRewriter &rewriter) const override {
    int64_t width = op.getSourceVectorType().getNumElements();
    if (op.getKind() != vector::CombiningKind::ADD || !isa<FloatType>(op.getType()) || op.getSourceVectorType().getRank() != 1)
      return rewriter.notifyMatchFailure(op, "no sum of floats over one dimension");
    if (!llvm::isPowerOf2_64(width) || width == 1)
      return rewriter.notifyMatchFailure(op, "the width has no halves");
    Location loc = op.getLoc();
    Value sum = op.getVector();
    for (int64_t half = width / 2; half > 0; half /= 2) {
      Value low = vector::ExtractStridedSliceOp::create(rewriter, loc, sum, {0}, {half}, {1});
      Value high = vector::ExtractStridedSliceOp::create(rewriter, loc, sum, {half}, {half}, {1});
      sum = arith::AddFOp::create(rewriter, loc, low, high);
    }
    Value scalar = vector::ExtractOp::create(rewriter, loc, sum, int64_t(0));
    if (op.getAcc())
      scalar = arith::AddFOp::create(rewriter, loc, op.getAcc(), scalar);
    rewriter.replaceOp(op, scalar);
    return success();
  }
};

/// A sum over the rows of a matrix adds whole rows, each column in the order that SumAsTree or LLVM would give it. The
/// upstream lowering would transpose the matrix to add up within vectors.
struct SumOfRows : OpRewritePattern<vector::MultiDimReductionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::MultiDimReductionOp op, PatternRewriter &rewriter) const override {
    VectorType type = op.getSourceVectorType();
    bool isSum = op.getKind() == vector::CombiningKind::ADD && isa<FloatType>(type.getElementType());
    if (!isSum || type.getRank() != 2 || type.isScalable() || op.getReductionDims() != ArrayRef<int64_t>{0})
      return rewriter.notifyMatchFailure(op, "no sum of floats over rows");
    Location loc = op.getLoc();
    auto add = [&](Value a, Value c) -> Value { return arith::AddFOp::create(rewriter, loc, a, c); };
    SmallVector<Value> rows;
    for (int64_t row = 0; row < type.getDimSize(0); ++row)
      rows.push_back(vector::ExtractOp::create(rewriter, loc, op.getSource(), row));
    if (llvm::isPowerOf2_64(rows.size()))
      for (size_t half = rows.size() / 2; half > 0; half /= 2, rows.truncate(rows.size() / 2))
        for (size_t row = 0; row < half; ++row)
          rows[row] = add(rows[row], rows[row + half]);
    Value sum = op.getAcc();
    for (Value row : rows)
      sum = add(sum, row);
    rewriter.replaceOp(op, sum);
    return success();
  }
};

class LowerVectors : public sparse::impl::LowerVectorsPassBase<LowerVectors> {
public:
  void runOnOperation() override {
    auto config = getOperation()->getAttrOfType<sparse::sparsity::LoweringConfigAttr>("lowering_config");
    if (!config || config.getStrategy() != sparse::sparsity::Strategy::Vector)
      return;
    RewritePatternSet patterns(&getContext());
    patterns.add<SumAsTree>(&getContext());
    patterns.add<SumOfRows>(&getContext(), /*benefit=*/2);
    vector::populateVectorMultiReductionLoweringPatterns(patterns,
                                                         vector::VectorMultiReductionLowering::InnerReduction);
    vector::populateVectorBroadcastLoweringPatterns(patterns);
    vector::populateVectorShapeCastLoweringPatterns(patterns);
    vector::populateVectorStepLoweringPatterns(patterns);
    vector::populateVectorTransposeLoweringPatterns(patterns, vector::VectorTransposeLowering::Shuffle16x16);
    auto approximate = [](StringRef name) {
      return name == math::ExpOp::getOperationName() || name == math::TanhOp::getOperationName() ||
             name == math::ErfOp::getOperationName() || name == math::LogOp::getOperationName();
    };
    populateMathPolynomialApproximationPatterns(patterns, approximate);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
