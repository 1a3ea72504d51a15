//===-- SetStrategy.cpp - Choice of each kernel's lowering --------------------------------------------------------===//
#include "passes/Passes.h"

namespace sparse {
#define GEN_PASS_DEF_SETSTRATEGYPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

/// Largest power of two up to `most` that divides `n`.
static int64_t dividingTile(int64_t n, int64_t most) {
  int64_t tile = 1;
  while (tile * 2 <= most && n % (tile * 2) == 0)
    tile *= 2;
  return tile;
}

namespace {
class SetStrategy : public sparse::impl::SetStrategyPassBase<SetStrategy> {
public:
  using SetStrategyPassBase::SetStrategyPassBase;

  void runOnOperation() override {
    Builder b(&getContext());
    bool failed = false;
    getOperation().walk([&](plan::KernelOp kernel) {
      if (auto pinned = kernel->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config")) {
        failed |= !isLegal(kernel, pinned);
        return;
      }
      auto strategy = reference           ? sparsity::Strategy::Reference
                      : useLibrary(kernel) ? sparsity::Strategy::Library
                                           : sparsity::Strategy::Vector;
      kernel->setAttr("lowering_config",
                      sparsity::LoweringConfigAttr::get(&getContext(), strategy, b.getDenseI64ArrayAttr(tiles(kernel))));
    });
    if (failed)
      signalPassFailure();
  }

private:
  /// A strategy that the IR pins must exist; without tiles it gets the usual ones.
  bool isLegal(plan::KernelOp kernel, sparsity::LoweringConfigAttr pinned) {
    sparsity::Strategy strategy = pinned.getStrategy();
    bool exists = strategy == sparsity::Strategy::Reference || strategy == sparsity::Strategy::Vector ||
                  (strategy == sparsity::Strategy::Library && useLibrary(kernel));
    if (!exists)
      kernel.emitError() << "can't be lowered by strategy " << sparsity::stringifyStrategy(strategy)
                         << " on a CPU; legal: 'reference', 'vector'" << (useLibrary(kernel) ? ", 'library'" : "");
    if (exists && pinned.getTiles().empty())
      kernel->setAttr("lowering_config",
                      sparsity::LoweringConfigAttr::get(&getContext(), strategy,
                                                        DenseI64ArrayAttr::get(&getContext(), tiles(kernel))));
    return exists;
  }

  /// Linear layers over the rows of a prompt, alone in their kernel and packed the way the library reads weights. Only
  /// prefill: its chunk has one fixed shape, so the library's order of additions is fixed too.
  bool useLibrary(plan::KernelOp kernel) {
    auto func = kernel->getParentOfType<func::FuncOp>();
    auto kind = func->getAttrOfType<StringAttr>("plan.kind");
    auto linear = dyn_cast<sparsity::LinearOp>(kernel.getBlock()->front());
    if (!kind || kind.getValue() != "prefill" || !linear || kernel.getBlock()->getOperations().size() != 2)
      return false;
    auto rows = cast<RankedTensorType>(linear.getX().getType());
    auto weight = cast<RankedTensorType>(linear.getWeight().getType());
    return rows.getDimSize(0) >= 16 && weight.getDimSize(2) == 64 && weight.getDimSize(1) % 16 == 0;
  }

  /// Rows of a task. Linear layers: up to 4 share a read of the weights, their accumulators stay in registers. Attention
  /// (prefill): 8 query positions share a page.
  SmallVector<int64_t> tiles(plan::KernelOp kernel) {
    for (Type type : kernel->getResultTypes())
      if (auto tensor = dyn_cast<RankedTensorType>(type))
        if (tensor.getRank() == 2)
          return {dividingTile(tensor.getDimSize(0), isa<sparsity::LinearOp>(kernel.getBlock()->front()) ? 4 : 8)};
    // The mass of a prefill: rows from its query.
    for (Type type : kernel->getOperandTypes())
      if (auto tensor = dyn_cast<RankedTensorType>(type))
        return {dividingTile(tensor.getDimSize(0), 8)};
    return {1};
  }
};
} // namespace
