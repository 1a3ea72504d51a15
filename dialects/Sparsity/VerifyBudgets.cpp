//===-- VerifyBudgets.cpp - Shapes of the ops by which layers share a budget --------------------------------------===//
#include "dialects/KVCache/ExpectTensor.h"
#include "dialects/Sparsity/Sparsity.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace sparse::kvcache;
using namespace sparse::sparsity;

static LayoutAttr layoutOf(Value state) { return cast<LayerType>(state.getType()).getLayout(); }

/// Positions say which slots live, and how long the sequence is.
static LogicalResult expectPositions(Operation *op, LayoutAttr layout) {
  if (layout.getSlotted())
    return success();
  return op->emitOpError("needs positions of slots; legal: a layout with slotted = true");
}

LogicalResult SpreadOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Builder b(getContext());
  StringRef name = cast<PolicyAttrInterface>(Attribute(getPolicy())).getPolicySpec().name;
  if (failed(expectPositions(*this, layout)) ||
      failed(expectField(*this, layout, getPolicy().getSpreadField(), Scope::Slot, b.getF32Type(), name)))
    return failure();
  return expectTensors(*this, {{getSequences(), "sequences", {1}, b.getI32Type()},
                               {getVariances(), "variances", {layout.getKvHeads()}, b.getF32Type()}});
}

LogicalResult ShareBudgetOp::verify() {
  if (getVariances().empty() || getVariances().size() != getShares().size())
    return emitOpError("gives ") << getShares().size() << " shares to " << getVariances().size()
                                 << " layers; legal: one share for each, and at least one";
  Type f32 = Builder(getContext()).getF32Type();
  SmallVector<Expected> values;
  for (Value variances : getVariances())
    values.push_back({variances, "variances", {rowsOf(variances)}, f32});
  for (Value share : getShares())
    values.push_back({share, "share", {1}, f32});
  return expectTensors(*this, values);
}

LogicalResult SetBudgetOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Builder b(getContext());
  if (!layout.getCapsOfPrompt())
    return emitOpError("sets caps that the layout does not let prompts set; legal: caps_of_prompt = true");
  if (failed(expectPositions(*this, layout)))
    return failure();
  return expectTensors(
      *this, {{getSequences(), "sequences", {1}, b.getI32Type()}, {getShare(), "share", {1}, b.getF32Type()}});
}
