//===-- Embed.cpp - Rows of the embedding table -------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kThreads = 128;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto table = cast<RankedTensorType>(cast<sparsity::EmbedOp>(headOf(kernel)).getTable().getType());
  if (table.getDimSize(2) != 1)
    return "the table is packed in panels";
  if (table.getDimSize(1) % 4 != 0)
    return "the width is no multiple of 4";
  return "";
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto embed = cast<sparsity::EmbedOp>(k.ops.front());
  Buffer &table = k.buffer(embed.getTable()), &ids = k.buffer(embed.getIds());
  int64_t width = table.size(1);
  k.grid = {ids.size(0), 1, 1};
  k.block = {kThreads, 1, 1};
  Value row = d.blockId(0), id = k.load(ids, {row});
  d.loop(d.threadId(), d.i32(width / 4), d.i32(kThreads), [&](Value chunk) {
    Value column = d.mul(chunk, d.i32(4));
    k.store(d.toF32(k.loadConstant(table, {id, column, d.i32(0)}, 4)), k.results[0], {row, column});
  });
  return success();
}

const Template sparse::device::embedTemplate{whyNot, emit};
