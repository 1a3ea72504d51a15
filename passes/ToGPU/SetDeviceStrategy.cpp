//===-- SetDeviceStrategy.cpp - Choice of each kernel's lowering on a GPU -----------------------------------------===//
#include "passes/ToGPU/Templates/Templates.h"

namespace sparse {
#define GEN_PASS_DEF_SETDEVICESTRATEGYPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

namespace {
class SetDeviceStrategy : public sparse::impl::SetDeviceStrategyPassBase<SetDeviceStrategy> {
public:
  using SetDeviceStrategyPassBase::SetDeviceStrategyPassBase;

  void runOnOperation() override {
    auto target = getOperation()->getAttrOfType<sparsity::TargetAttr>("sparsity.target");
    if (!target) {
      getOperation().emitError("has no sparsity.target; strategies of a GPU depend on it");
      return signalPassFailure();
    }
    bool failed = false;
    getOperation().walk([&](plan::KernelOp kernel) {
      if (auto pinned = kernel->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config"))
        failed |= !isLegal(kernel, pinned, target);
      else
        setStrategy(kernel, choose(kernel, target));
    });
    if (failed)
      signalPassFailure();
  }

private:
  void setStrategy(plan::KernelOp kernel, sparsity::Strategy strategy) {
    Builder b(&getContext());
    kernel->setAttr("lowering_config",
                    sparsity::LoweringConfigAttr::get(&getContext(), strategy, b.getDenseI64ArrayAttr({})));
  }

  sparsity::Strategy choose(plan::KernelOp kernel, sparsity::TargetAttr target) {
    if (reference)
      return sparsity::Strategy::Reference;
    if (useLibrary(kernel))
      return sparsity::Strategy::Library;
    for (const device::TemplateEntry &entry : device::templateTable())
      if (Operation *head = device::headOf(kernel))
        if (head->getName().getStringRef() == entry.opName && entry.body.whyNot(kernel, target).empty())
          return entry.strategy;
    return sparsity::Strategy::Reference;
  }

  /// Linear layers over the rows of a prompt, alone in their kernel: cuBLASLt.
  bool useLibrary(plan::KernelOp kernel) {
    auto kind = kernel->getParentOfType<func::FuncOp>()->getAttrOfType<StringAttr>("plan.kind");
    auto linear = dyn_cast<sparsity::LinearOp>(kernel.getBlock()->front());
    if (!kind || kind.getValue() != "prefill" || !linear || kernel.getBlock()->getOperations().size() != 2)
      return false;
    auto x = cast<RankedTensorType>(linear.getX().getType()), w = cast<RankedTensorType>(linear.getWeight().getType());
    return w.getDimSize(2) == 1 && x.getElementType() == w.getElementType();
  }

  /// A strategy that the IR pins must exist.
  bool isLegal(plan::KernelOp kernel, sparsity::LoweringConfigAttr config, sparsity::TargetAttr target) {
    sparsity::Strategy strategy = config.getStrategy();
    Operation *head = device::headOf(kernel);
    const device::Template *found = head ? device::findTemplate(head->getName().getStringRef(), strategy) : nullptr;
    if (std::string reason = whyNotCopies(config.getCopies(), found, target); !reason.empty()) {
      kernel.emitError() << "can't copy tiles by '" << sparsity::stringifyTileCopy(config.getCopies()) << "': " << reason;
      return false;
    }
    if (strategy == sparsity::Strategy::Reference || (strategy == sparsity::Strategy::Library && useLibrary(kernel)))
      return true;
    std::string reason = found ? found->whyNot(kernel, target) : "there is no such template for its first op";
    if (reason.empty())
      return true;
    kernel.emitError() << "can't be lowered by strategy " << sparsity::stringifyStrategy(strategy) << ": " << reason;
    return false;
  }

  static std::string whyNotCopies(sparsity::TileCopy copies, const device::Template *found, sparsity::TargetAttr target) {
    if (copies == sparsity::TileCopy::Async)
      return "";
    if (!found || !found->copiesTiles)
      return "its strategy passes no tiles through shared memory";
    if (copies == sparsity::TileCopy::Bulk && !target.getClusters())
      return "the device has no copy engine that completes on mbarriers; legal: 'async', 'plain'";
    return "";
  }
};
} // namespace
