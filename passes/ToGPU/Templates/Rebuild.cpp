//===-- Rebuild.cpp - Content fields of pages from their keys, a block for each page ------------------------------===//
#include "passes/ToGPU/Templates/ContentFields.h"
#include "passes/ToGPU/Templates/Templates.h"

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
    rebuildContentFields(k, layer, sequence, head, page, physical, used, threads);
  });
  return success();
}

const Template sparse::device::rebuildTemplate{whyNot, emit};
