//===-- ContentFields.cpp - What a page knows of its keys ---------------------------------------------------------===//
#include "passes/ToGPU/Templates/ContentFields.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

SmallVector<kvcache::FieldAttr> sparse::device::contentFields(kvcache::LayoutAttr layout) {
  return llvm::filter_to_vector(layout.getFields().getAsRange<kvcache::FieldAttr>(), [](kvcache::FieldAttr field) {
    return field.getContent() && field.getScope() == kvcache::Scope::Page;
  });
}

void sparse::device::rebuildContentFields(DeviceKernel &k, LayerBuffers &layer, Value sequence, Value head, Value page,
                                          Value physical, Value used, int64_t threads) {
  Device &d = k.d;
  for (kvcache::FieldAttr field : contentFields(layer.layout)) {
    sparsity::PolicyAttrInterface owner = lowering::fieldOwner(layer.layout, field);
    d.loop(d.threadId(), d.i32(layer.layout.getKeyDim()), d.i32(threads), [&](Value channel) {
      Value initial = d.toF32(arith::ConstantOp::create(d.b, d.loc, field.getInit()));
      Value last = d.loop(d.i32(0), used, d.i32(1), initial, [&](Value lane, ValueRange carried) {
        Value slot = d.add(d.mul(page, d.i32(layer.layout.getPage())), lane);
        Value key = RowReader(k, layer, "key", {sequence, head, slot, physical, lane})(channel);
        Value updated = owner.buildFieldUpdate(d.b, d.loc, field.getName(), carried[0], key);
        // As if it were stored after every key.
        return SmallVector<Value>{d.toF32(d.fromF32(updated, field.getType()))};
      })[0];
      k.store(d.fromF32(last, field.getType()), layer[field.getName()], {sequence, head, page, channel});
    });
  }
}

void sparse::device::foldIntoContentFields(DeviceKernel &k, LayerBuffers &layer, const SlotPlace &place, Value page,
                                           Value channel, Value key, Value fresh) {
  Device &d = k.d;
  for (kvcache::FieldAttr field : contentFields(layer.layout)) {
    Buffer &buffer = layer[field.getName()];
    SmallVector<Value> at{place.sequence, place.head, page, channel};
    Value initial = d.toF32(arith::ConstantOp::create(d.b, d.loc, field.getInit()));
    Value old = d.select(fresh, initial, d.toF32(k.load(buffer, at)));
    Value updated =
        lowering::fieldOwner(layer.layout, field).buildFieldUpdate(d.b, d.loc, field.getName(), old, key);
    k.store(d.fromF32(updated, field.getType()), buffer, at);
  }
}
