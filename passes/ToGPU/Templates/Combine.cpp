//===-- Combine.cpp - Attention of whole lists from that of their segments ----------------------------------------===//
//
// A thread takes four channels of one query head and adds up the segments in ascending order.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/AttendBlock.h"
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kThreads = 128, kTogether = 8;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  if (cast<sparsity::CombineOp>(headOf(kernel)).getState().getType().getLayout().getValueDim() % 4 != 0)
    return "the value dimension is no multiple of 4";
  return "";
}

namespace {
/// The segments of one query head, as one thread sees them.
struct Segments {
  DeviceKernel &k;
  Device &d;
  Buffer &parts, &tops, &sums;
  Value row, head, group, column;
  int64_t segments;

  /// { top, sum, values } with segments [s, s + count) folded in; those from `last` on count nothing.
  SmallVector<Value> fold(Value s, int64_t count, Value last, ValueRange carried);
};
} // namespace

SmallVector<Value> Segments::fold(Value s, int64_t count, Value last, ValueRange carried) {
  SmallVector<Value> there, top, sum, values;
  for (int64_t i = 0; i < count; ++i) {
    Value segment = d.add(s, d.i32(i)), at = d.minS(segment, d.i32(segments - 1));
    there.push_back(d.lt(segment, last));
    top.push_back(loadedTop(d, k.load(tops, {row, head, at, group})));
    sum.push_back(k.load(sums, {row, head, at, group}));
    values.push_back(k.load(parts, {row, head, at, column}, 4));
  }
  return foldStates(d, carried, top, sum, values, there);
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::CombineOp>(k.ops.front());
  Buffer &tops = k.buffer(op.getTops()); // [T, Hs, S, G]
  int64_t selecting = tops.size(1), segments = tops.size(2), groups = tops.size(3);
  int64_t dv = k.layer(op.getState()).layout.getValueDim(), chunks = groups * dv / 4;
  int64_t threads = std::min<int64_t>(kThreads, llvm::alignTo(chunks, kWarp));
  k.grid = {static_cast<int64_t>(llvm::divideCeil(chunks, threads)), selecting, tops.size(0)};
  k.block = {threads, 1, 1};

  Value chunk = d.add(d.mul(d.blockId(0), d.i32(threads)), d.threadId()), head = d.blockId(1), row = d.blockId(2);
  d.ifThen(d.lt(chunk, d.i32(chunks)), [&] {
    Value column = d.mul(chunk, d.i32(4)), group = d.divU(column, dv);
    // Combine has the count of a selected list, but not its pages.
    PageList list(k, op.getState(), op.getPositions(), op.getSequences(), selecting, row, head);
    list.take(op.getCount(), op.getCount());
    Value length = list.segmentLength(op.getSegment(), segments), last = d.ceilDivU(list.pages, length);
    Segments all{k, d, k.buffer(op.getParts()), tops, k.buffer(op.getSums()), row, head, group, column, segments};
    int64_t together = std::min(kTogether, segments);
    SmallVector<Value> folded =
        d.loop(d.i32(0), last, d.i32(together),
               {d.f32(kHidden), d.f32(0), d.zero(VectorType::get({4}, d.b.getF32Type()))},
               [&](Value s, ValueRange carried) { return all.fold(s, together, last, carried); });
    Value out = d.divF(folded[2], d.splat(folded[1], 4));
    k.store(out, k.results[0], {row, d.add(d.mul(head, d.i32(groups * dv)), column)});
    d.ifThen(d.eq(d.remU(column, dv), d.i32(0)), [&] {
      Value log = math::LogOp::create(d.b, d.loc, folded[1]);
      Value lse = d.addF(d.mulF(folded[0], d.f32(kNaturalOfBinary)), log);
      k.store(lse, k.results[1], {row, d.add(d.mul(head, d.i32(groups)), group)});
    });
  });
  return success();
}

const Template sparse::device::combineTemplate{whyNot, emit};
