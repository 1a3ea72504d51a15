//===-- MergeParts.cpp - What kernels of merging share ------------------------------------------------------------===//
#include "passes/ToGPU/Templates/MergeParts.h"
#include "passes/ToLinalg/Merge.h"

using namespace sparse;
using namespace sparse::device;

Value HeadMerge::governs() {
  lowering::Emitter e(k.d.b, k.d.loc);
  return lowering::merging::governs(e, policy, e.toIndex(head));
}

Value HeadMerge::draw(int64_t layerOfModel, Value position) {
  lowering::Emitter e(k.d.b, k.d.loc);
  return lowering::merging::drawFor(e, policy, layerOfModel, e.toIndex(head), position);
}

Value HeadMerge::threshold() {
  StringRef field = policy.getThresholdField();
  return field.empty() ? Value() : k.load(layer[field], {sequence, head});
}

Value HeadMerge::updateThreshold(Value sum, Value count, Value writes) {
  Device &d = k.d;
  Value old = threshold();
  Value now = d.select(governs(), policy.buildThreshold(d.b, d.loc, old, d.divF(sum, count)), old);
  d.ifThen(writes, [&] { k.store(now, layer[policy.getThresholdField()], {sequence, head}); });
  return now;
}

void HeadMerge::addToCounter(Value merged) {
  StringRef field = policy.getCounterField();
  if (field.empty())
    return;
  Value old = k.load(layer[field], {sequence, head});
  k.store(k.d.add(old, merged), layer[field], {sequence, head});
}

Value sparse::device::blend(Device &d, Value old, Value added, Value part) {
  Value sum = d.addF(old, added);
  if (!part)
    return sum;
  Value divisor = d.addF(d.f32(1), part);
  if (auto type = dyn_cast<VectorType>(old.getType()))
    divisor = d.splat(divisor, type.getNumElements());
  return d.divF(sum, divisor);
}
