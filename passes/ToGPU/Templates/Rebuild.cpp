//===-- Rebuild.cpp - Content fields of pages from their keys, a block for each page ------------------------------===//
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostThreads = 256;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<kvcache::RebuildOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  int64_t channels = layout.getKeyDim(), threads = std::min<int64_t>(kMostThreads, llvm::alignTo(channels, kWarp));
  k.grid = {layout.getMaxPages(), layout.getKvHeads(), 1};
  k.block = {threads, 1, 1};

  Value page = d.blockId(0), head = d.blockId(1), sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  // Slots of the page that are in use.
  Value used = d.sub(k.load(layer["count"], {sequence, head}), d.mul(page, d.i32(layout.getPage())));
  used = d.minS(used, d.i32(layout.getPage()));
  d.ifThen(d.lt(d.i32(0), used), [&] {
    Value physical = k.load(layer["table"], {sequence, head, page});
    for (auto field : layout.getFields().getAsRange<kvcache::FieldAttr>()) {
      if (!field.getContent() || field.getScope() != kvcache::Scope::Page)
        continue;
      sparsity::PolicyAttrInterface owner = lowering::fieldOwner(layout, field);
      d.loop(d.threadId(), d.i32(channels), d.i32(threads), [&](Value channel) {
        Value initial = d.toF32(arith::ConstantOp::create(d.b, d.loc, field.getInit()));
        Value last = d.loop(d.i32(0), used, d.i32(1), initial, [&](Value lane, ValueRange carried) {
          Value key = d.toF32(k.load(layer["key"], {physical, channel, lane}));
          Value updated = owner.buildFieldUpdate(d.b, d.loc, field.getName(), carried[0], key);
          // As if it were stored after every key.
          return SmallVector<Value>{d.toF32(d.fromF32(updated, field.getType()))};
        })[0];
        k.store(d.fromF32(last, field.getType()), layer[field.getName()], {sequence, head, page, channel});
      });
    }
  });
  return success();
}

const Template sparse::device::rebuildTemplate{whyNot, emit};
