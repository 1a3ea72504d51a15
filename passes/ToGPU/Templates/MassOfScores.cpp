//===-- MassOfScores.cpp - The attention probability that slots receive, from scores that attention has left ------===//
#include "passes/ToGPU/Templates/MassOfScores.h"
#include "passes/ToGPU/Templates/AttendBlock.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kThreads = 256;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

ScoreMass::ScoreMass(DeviceKernel &k, sparsity::MassOfScoresOp op, Value row, Value head)
    : k(k), d(k.d), scores(k.buffer(op.getScores())), layout(k.layer(op.getState()).layout), row(row), head(head) {
  PageList list(k, op.getState(), op.getPositions(), op.getSequences(), layout.getKvHeads(), row, head);
  list.take({}, {});
  pages = list.pages;
  length = list.segmentLength(op.getSegment(), scores.size(2)); // [T, Hk, S, P, G]
  int64_t groups = scores.size(4);
  for (int64_t g = 0; g < groups; ++g)
    shifts.push_back(
        loadedTop(d, k.load(k.buffer(op.getLse()), {row, d.add(d.mul(head, d.i32(groups)), d.i32(g))})));
}

Value ScoreMass::isListed(Value slot) { return d.lt(d.divU(slot, layout.getPage()), pages); }

Value ScoreMass::of(Value slot) {
  Value segment = d.divU(d.divU(slot, layout.getPage()), length);
  Value inside = d.sub(slot, d.mul(d.mul(segment, length), d.i32(layout.getPage())));
  int64_t groups = scores.size(4), width = groups % 4 == 0 ? 4 : groups % 2 == 0 ? 2 : 1;
  Value total = d.f32(0), part;
  for (int64_t g = 0; g < groups; ++g) {
    if (g % width == 0)
      part = k.load(scores, {row, head, segment, inside, d.i32(g)}, width);
    Value score = width == 1 ? part : d.element(part, g % width);
    Value probability = d.exp2(d.subF(loadedTop(d, score), shifts[g]));
    Value hidden = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OLT, score, d.f32(lowering::kHiddenBelow));
    total = d.addF(total, d.select(hidden, d.f32(0), probability));
  }
  return total;
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::MassOfScoresOp>(k.ops.front());
  Buffer &mass = k.results[0]; // [T, Hk, slots]
  int64_t slots = mass.size(2);
  k.grid = {static_cast<int64_t>(llvm::divideCeil(slots, kThreads)), mass.size(1), mass.size(0)};
  k.block = {kThreads, 1, 1};

  Value slot = d.add(d.mul(d.blockId(0), d.i32(kThreads)), d.threadId()), head = d.blockId(1), row = d.blockId(2);
  ScoreMass received(k, op, row, head);
  Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {row}), d.i32(0));
  d.ifThen(d.lt(slot, d.i32(slots)), [&] {
    Value sum = d.ifThenElse(
        d.bitAnd(active, received.isListed(slot)), [&]() -> SmallVector<Value> { return {received.of(slot)}; },
        [&]() -> SmallVector<Value> { return {d.f32(0)}; })[0];
    k.store(sum, mass, {row, head, slot});
  });
  return success();
}

const Template sparse::device::massOfScoresTemplate{whyNot, emit};
