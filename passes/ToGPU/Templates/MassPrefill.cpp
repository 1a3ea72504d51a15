//===-- MassPrefill.cpp - The attention probability that slots receive from a prompt's rows -----------------------===//
//
// A block takes 64 slots of one KV head, whose keys it keeps; its warps take the rows of the group's query heads in turn,
// sixteen at once. Probabilities are e^(score - log of the softmax's denominator), so that nothing of the attention matrix is
// ever in memory. The warps' sums are added in their order.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/AsyncCopy.h"
#include "passes/ToGPU/Templates/PromptBlock.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarps = 8;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto mass = cast<sparsity::MassOp>(headOf(kernel));
  if (!mass.getPrefill() || mass.getIndices())
    return "it is for the rows of a prompt over the whole cache";
  return whyNotPrompt(mass.getState().getType().getLayout(), mass.getQuery(), mass.getSoftcap().convertToDouble());
}

namespace {
class PrefillMass : PromptBlock {
public:
  PrefillMass(DeviceKernel &k, sparsity::MassOp op)
      : PromptBlock(k, op.getState(), op.getQuery(), op.getPositions(), op.getSequences(), int64_t(op.getWindow()), kWarps),
        op(op), lse(k.buffer(op.getLse())), active(k.buffer(op.getActive())) {}

  void emit();

private:
  /// This lane's sums for 2 of every 8 slots, after sixteen rows of a query head.
  SmallVector<Value> addRows(Value head, Value tile, ValueRange sums);

  sparsity::MassOp op;
  Buffer &lse, &active;
};
} // namespace

SmallVector<Value> PrefillMass::addRows(Value head, Value tile, ValueRange sums) {
  SmallVector<Value> own = hide(tile, scaled("key", tile, scores(loadQuery(head), d.i32(0))));
  SmallVector<Value> result(sums);
  Value scale = d.f32(op.getScale().convertToDouble() * M_LOG2E);
  for (unsigned i = 0; i < 2; ++i) {
    Value isActive = d.cmp(arith::CmpIPredicate::ne, k.load(active, {row[i]}), d.i32(0));
    Value shift = d.mulF(k.load(lse, {row[i], head}), d.f32(-M_LOG2E));
    for (int64_t block = 0; block < kSlotsOfTile / 8; ++block)
      for (unsigned j = 0; j < 2; ++j) {
        Value score = own[block * 4 + i * 2 + j], probability = d.exp2(d.fma(score, scale, shift));
        // The denominator of a row that sees nothing is 0.
        Value isSeen = arith::CmpFOp::create(d.b, d.loc, arith::CmpFPredicate::OGT, score, d.f32(kHiddenScore));
        Value &sum = result[block * 2 + j];
        sum = d.addF(sum, d.select(d.bitAnd(isActive, isSeen), probability, d.f32(0)));
      }
  }
  return result;
}

void PrefillMass::emit() {
  Buffer &mass = k.results[0]; // [1, KV heads, slots]
  int64_t rows = query.size(0), groups = queryHeads() / layout.getKvHeads(), rowTiles = rows / kRowsOfWarp;
  int64_t maxSlots = mass.size(2);
  k.grid = {static_cast<int64_t>(llvm::divideCeil(maxSlots, kSlotsOfTile)), layout.getKvHeads(), 1};
  k.block = {kWarps * kWarp, 1, 1};
  k.dynamicShared = keyTile.elements() * element.getIntOrFloatBitWidth() / 8;
  keys = d.dynamicShared(element, 0);
  Span parts = d.shared(d.b.getF32Type(), kWarps * kSlotsOfTile, "parts"); // [warp][slot]

  Value tile = d.blockId(0), firstSlot = d.mul(tile, d.i32(kSlotsOfTile));
  kvHead = d.blockId(1);
  slots = k.load(layer["count"], {sequence, kvHead});
  Value mine = d.add(firstSlot, d.threadId());
  Value writes = d.bitAnd(d.lt(d.threadId(), d.i32(kSlotsOfTile)), d.lt(mine, d.i32(maxSlots)));
  auto some = [&]() -> SmallVector<Value> {
    if (layout.isQuantized()) {
      storeTile(keyTile, keys, loadTile(keyTile, "key", tile), d.i32(0));
    } else {
      copyTile(keyTile, keys, "key", tile, d.i32(0));
      commitCopies(d);
      waitForCopies(d, 0);
    }
    d.barrier();
    SmallVector<Value> none(kSlotsOfTile / 4, d.f32(0));
    SmallVector<Value> sums =
        d.loop(d.warp(), d.i32(groups * rowTiles), d.i32(kWarps), none, [&](Value unit, ValueRange carried) {
          locateRows(d.mul(d.remU(unit, rowTiles), d.i32(kRowsOfWarp)));
          Value head = d.add(d.mul(kvHead, d.i32(groups)), d.divU(unit, rowTiles));
          if (layout.getSlotted())
            return addRows(head, tile, carried);
          // Positions of a prompt's rows are consecutive: the last row sees most.
          Value last = k.load(positions, {d.add(firstRow, d.i32(kRowsOfWarp - 1))});
          return d.ifThenElse(
              d.ge(last, firstSlot), [&] { return addRows(head, tile, carried); },
              [&] { return SmallVector<Value>(carried); });
        });
    for (Value &sum : sums)
      for (int64_t distance = 4; distance < kWarp; distance *= 2)
        sum = d.addF(sum, d.shuffleXor(sum, distance));
    d.ifThen(d.lt(lane, d.i32(4)), [&] {
      for (auto [i, sum] : llvm::enumerate(sums)) {
        Value slot = d.add(d.mul(inGroup, d.i32(2)), d.i32(i / 2 * 8 + i % 2));
        d.store(sum, parts, d.add(d.mul(d.warp(), d.i32(kSlotsOfTile)), slot));
      }
    });
    d.barrier();
    d.ifThen(writes, [&] {
      Value total = d.load(parts, d.threadId());
      for (int64_t warp = 1; warp < kWarps; ++warp)
        total = d.addF(total, d.load(parts, d.add(d.threadId(), d.i32(warp * kSlotsOfTile))));
      k.store(total, mass, {d.i32(0), kvHead, mine});
    });
    return {};
  };
  auto nothing = [&]() -> SmallVector<Value> {
    d.ifThen(writes, [&] { k.store(d.f32(0), mass, {d.i32(0), kvHead, mine}); });
    return {};
  };
  d.ifThenElse(d.lt(firstSlot, slots), some, nothing);
}

static LogicalResult emit(DeviceKernel &k) {
  PrefillMass(k, cast<sparsity::MassOp>(k.ops.front())).emit();
  return success();
}

const Template sparse::device::massPrefillTemplate{whyNot, emit};
