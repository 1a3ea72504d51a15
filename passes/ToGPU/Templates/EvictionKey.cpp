//===-- EvictionKey.cpp - The key by which slots are evicted ------------------------------------------------------===//
#include "passes/ToGPU/Templates/EvictionKey.h"
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

Value sparse::device::capOf(DeviceKernel &k, LayerBuffers &layer, Value sequence, Value head, Value newest) {
  lowering::Emitter e(k.d.b, k.d.loc);
  bool ofPrompt = layer.layout.getCapsOfPrompt();
  Value budget = ofPrompt ? k.load(layer["budget"], {sequence, head}) : Value();
  return e.toI32(lowering::capOf(e, layer.layout, e.toIndex(head), newest, budget));
}

Value sparse::device::evictionKey(Device &d, kvcache::LayoutAttr layout, Value head, Value position, Value newest,
                                  Value cap, function_ref<Value(StringRef name)> fieldOf) {
  lowering::Emitter e(d.b, d.loc);
  Value key = d.f32(std::numeric_limits<double>::infinity());
  for (Attribute attr : layout.getPolicies()) {
    auto policy = dyn_cast<sparsity::KVPolicyInterface>(attr);
    if (!policy)
      continue;
    auto general = cast<sparsity::PolicyAttrInterface>(attr);
    SmallVector<Value> fields;
    for (StringRef name : general.getSlotFields())
      fields.push_back(fieldOf(name));
    Value own = policy.buildKey(d.b, d.loc, position, newest, fields, layout.getCapsOfPrompt() ? cap : Value());
    Value governed = lowering::isGoverned(e, e.toIndex(head), general.getHeads());
    key = governed ? d.select(governed, own, key) : own;
  }
  return key;
}
