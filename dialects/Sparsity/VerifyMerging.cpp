//===-- VerifyMerging.cpp - Shapes of the ops that merge evicted slots --------------------------------------------===//
#include "dialects/KVCache/ExpectTensor.h"
#include "dialects/Sparsity/Sparsity.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace sparse::kvcache;
using namespace sparse::sparsity;

static LayoutAttr layoutOf(Value state) { return cast<LayerType>(state.getType()).getLayout(); }

static StringRef nameOf(Attribute policy) { return cast<PolicyAttrInterface>(policy).getPolicySpec().name; }

/// The fields that the shares of evicted slots are made from.
static LogicalResult expectSlotFields(Operation *op, LayoutAttr layout, MergePolicyInterface policy) {
  for (StringRef field : policy.getSlotFields())
    if (failed(expectField(op, layout, field, Scope::Slot, Builder(op->getContext()).getF32Type(), nameOf(policy))))
      return failure();
  return success();
}

/// The fields that follow what was merged.
static LogicalResult expectHeadFields(Operation *op, LayoutAttr layout, MergePolicyInterface policy) {
  Builder b(op->getContext());
  StringRef threshold = policy.getThresholdField(), counter = policy.getCounterField();
  if (!threshold.empty() &&
      failed(expectField(op, layout, threshold, Scope::Head, b.getF32Type(), nameOf(policy))))
    return failure();
  return counter.empty() ? success()
                         : expectField(op, layout, counter, Scope::Head, b.getI32Type(), nameOf(policy));
}

/// The results of `nearest_part`.
static LogicalResult expectNearest(Operation *op, ValueRange nearest, int64_t rows, LayoutAttr layout) {
  Builder b(op->getContext());
  int64_t heads = layout.getKvHeads(), likely = layout.getLikely();
  if (likely == 0)
    return op->emitOpError("needs the field 'likely' in the layout");
  auto slots = dyn_cast<RankedTensorType>(nearest.back().getType());
  int64_t segments = slots && slots.getRank() == 4 ? slots.getDimSize(2) : ShapedType::kDynamic;
  SmallVector<int64_t> shape{rows, heads, segments, likely};
  return expectTensors(op, {{nearest[0], "probed", {rows, heads, likely}, b.getI32Type()},
                            {nearest[1], "cosine", shape, b.getF32Type()},
                            {nearest[2], "position", shape, b.getI32Type()},
                            {nearest[3], "slot", shape, b.getI32Type()}});
}

LogicalResult NearestPartOp::verify() {
  int64_t rows = rowsOf(getSequences());
  if (failed(expectTensors(*this, {{getSequences(), "sequences", {rows}, Builder(getContext()).getI32Type()}})))
    return failure();
  return expectNearest(*this, getResults(), rows, layoutOf(getState()));
}

LogicalResult MatchOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Builder b(getContext());
  int64_t rows = rowsOf(getEvicted()), heads = layout.getKvHeads();
  if (failed(expectSlotFields(*this, layout, getPolicy())))
    return failure();
  if (!getNearest().empty() && getNearest().size() != 4)
    return emitOpError("takes the four results of sparsity.nearest_part or none of them");
  if (!getNearest().empty() && failed(expectNearest(*this, getNearest(), rows, layout)))
    return failure();
  return expectTensors(*this, {{getEvicted(), "evicted", {rows, heads}, b.getI32Type()},
                               {getSequences(), "sequences", {rows}, b.getI32Type()},
                               {getTargets(), "targets", {rows, heads, getPolicy().getTargetCount()}, b.getI32Type()},
                               {getShare(), "share", {rows, heads}, b.getF32Type()}});
}

LogicalResult MergeOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Builder b(getContext());
  int64_t rows = rowsOf(getTargets()), heads = layout.getKvHeads();
  if (failed(expectHeadFields(*this, layout, getPolicy())))
    return failure();
  return expectTensors(*this, {{getTargets(), "targets", {rows, heads, getPolicy().getTargetCount()}, b.getI32Type()},
                               {getShare(), "share", {rows, heads}, b.getF32Type()},
                               {getSequences(), "sequences", {rows}, b.getI32Type()}});
}

/// Operands and results that the three ops of a compaction have in common.
static LogicalResult expectChosen(Operation *op, LayoutAttr layout, Value sequences, Value kept, Value target,
                                  Value share) {
  Builder b(op->getContext());
  int64_t heads = layout.getKvHeads(), slots = layout.getMaxSlots();
  if (!layout.isCapped())
    return op->emitOpError("compacts a layer without a cap; legal: a layout with a cap for some head");
  return expectTensors(op, {{sequences, "sequences", {1}, b.getI32Type()},
                            {kept, "kept", {heads}, b.getI32Type()},
                            {target, "target", {heads, slots}, b.getI32Type()},
                            {share, "share", {heads, slots}, b.getF32Type()}});
}

LogicalResult MatchChosenOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  if (failed(expectSlotFields(*this, layout, getPolicy())) ||
      failed(expectChosen(*this, layout, getSequences(), getKept(), getTarget(), getShare())))
    return failure();
  return expectCopies(*this, layout, getSlots());
}

LogicalResult SettleOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  if (failed(expectHeadFields(*this, layout, getPolicy())))
    return failure();
  return expectChosen(*this, layout, getSequences(), getKept(), getTarget(), getShare());
}

LogicalResult MergeChosenOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  if (failed(expectChosen(*this, layout, getSequences(), getKept(), getTarget(), getShare())))
    return failure();
  size_t merged = getPolicy().mergesKeys() ? 2 : 1;
  if (getMerged().size() != merged)
    return emitOpError("merges ") << getMerged().size() << " copies; '" << nameOf(getPolicy()) << "' merges "
                                  << (merged == 2 ? "values and keys" : "values alone");
  int64_t heads = layout.getKvHeads(), cap = layout.getWidestCap();
  Expected key{getKey(), "key", {heads, cap, layout.getKeyDim()}, mergedType(layout)};
  Expected value{getValue(), "value", {heads, cap, layout.getValueDim()}, mergedType(layout)};
  SmallVector<Expected> values{key, value, {getParts(), "parts", {heads, cap}, Builder(getContext()).getF32Type()}};
  const Expected *sources[] = {&value, &key};
  for (auto [copy, source] : llvm::zip(getMerged(), sources)) {
    values.push_back(*source);
    values.back().value = copy;
    values.back().name = "merged";
  }
  return expectTensors(*this, values);
}
