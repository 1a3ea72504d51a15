//===-- MassSimt.cpp - The attention probability that slots receive from decode rows, a warp for each page --------===//
#include "passes/ToGPU/Templates/AttendBlock.h"
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/RowShare.h"
#include "passes/ToGPU/Templates/Templates.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfBlock = 4, kPagesOfWarp = 4;

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto mass = cast<sparsity::MassOp>(headOf(kernel));
  if (mass.getPrefill())
    return "it is for rows that each have a sequence";
  return whyNotWideRows(mass.getState().getType().getLayout());
}

namespace {
struct PageMass {
  DeviceKernel &k;
  Device &d;
  sparsity::MassOp op;
  kvcache::LayoutAttr layout;
  RowShare share;
  int64_t heads; // query heads of a selecting one
  Value row, kvHead;

  /// What each of the lane's slots of a page gets through the list of one selecting head, added to `sums`.
  SmallVector<Value> add(PageList &list, Value page, ValueRange sums);
  /// Whether the ascending list has the page.
  Value isListed(Value head, Value page, Value pages);
};
} // namespace

Value PageMass::isListed(Value head, Value page, Value pages) {
  Buffer &indices = k.buffer(op.getIndices());
  // The first entry that is not less.
  Value at = d.repeatWhile({d.i32(0), pages}, [&](ValueRange range) -> SmallVector<Value> {
    Value goesOn = d.lt(range[0], range[1]), middle = d.divU(d.add(range[0], range[1]), 2);
    Value safe = d.select(goesOn, middle, d.i32(0));
    Value isLess = d.lt(k.load(indices, {row, head, safe}), page);
    Value low = d.select(d.bitAnd(goesOn, isLess), d.add(middle, d.i32(1)), range[0]);
    Value high = d.select(d.bitAnd(goesOn, d.bitXor(isLess, d.boolean(true))), middle, range[1]);
    return {goesOn, low, high};
  })[0];
  Value inside = d.lt(at, pages);
  return d.bitAnd(inside, d.eq(k.load(indices, {row, head, d.select(inside, at, d.i32(0))}), page));
}

SmallVector<Value> PageMass::add(PageList &list, Value page, ValueRange sums) {
  int64_t dk = layout.getKeyDim(), loads = share.loads(dk);
  double scale = op.getScale().convertToDouble(), softcap = op.getSoftcap().convertToDouble();
  Value physical = list.physical(page);
  SmallVector<Value> visible, scales;
  SmallVector<SmallVector<Value>> keys;
  for (size_t u = 0; u < sums.size(); ++u) {
    Value slot = d.add(share.row(d), d.i32(u * share.rows));
    Value inside = d.lt(slot, d.i32(layout.getPage()));
    slot = d.select(inside, slot, d.i32(0));
    visible.push_back(d.bitAnd(inside, list.isVisible(list.keyPosition(page, slot), int64_t(op.getWindow()))));
    Span key = d.at(list.layer["key"].span, k.offsetOf(list.layer["key"], {physical, d.i32(0), slot}));
    scales.push_back(list.scale("key", page, slot));
    keys.emplace_back();
    for (int64_t j = 0; j < loads; ++j)
      keys.back().push_back(d.loadConstant(key, share.channel(d, j), share.width));
  }
  // A head at a time: its query takes few registers.
  return d.loop(d.i32(0), d.i32(heads), d.i32(1), sums, [&](Value h, ValueRange carried) {
    Value queryHead = d.add(d.mul(list.head, d.i32(heads)), h);
    SmallVector<Value> query;
    for (int64_t j = 0; j < loads; ++j) {
      Value column = d.add(d.mul(queryHead, d.i32(dk)), share.channel(d, j));
      query.push_back(d.mulF(loadRow(k, k.buffer(op.getQuery()), {row, column}, share.width),
                             d.splat(d.f32(scoreFactor(scale, softcap)), share.width)));
    }
    Value shift = loadedTop(d, k.load(k.buffer(op.getLse()), {row, queryHead}));
    SmallVector<Value> next;
    for (size_t u = 0; u < carried.size(); ++u) {
      Value products = d.zero(VectorType::get({share.width}, d.b.getF32Type()));
      for (int64_t j = 0; j < loads; ++j)
        products = d.fma(d.toF32(keys[u][j]), query[j], products);
      Value sum = d.warpSum(d.sumOf(products), share.lanes);
      Value score = capScore(d, scales[u] ? d.mulF(sum, scales[u]) : sum, softcap);
      Value probability = d.select(visible[u], d.exp2(d.subF(score, shift)), d.f32(0));
      next.push_back(d.addF(carried[u], probability));
    }
    return next;
  });
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::MassOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  Buffer &mass = k.results[0]; // [T, KV heads, slots]
  int64_t kvHeads = layout.getKvHeads(), queryHeads = k.buffer(op.getQuery()).size(1) / layout.getKeyDim();
  int64_t selecting = op.getIndices() ? k.buffer(op.getIndices()).size(1) : kvHeads, ofBlock = kWarpsOfBlock * kPagesOfWarp;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(layout.getMaxPages(), ofBlock)), kvHeads, mass.size(0)};
  k.block = {kWarpsOfBlock * kWarp, 1, 1};

  RowShare share = RowShare::over({layout.getKeyDim()}, layout.getElementType());
  PageMass pages{k, d, op, layout, share, queryHeads / selecting, d.blockId(2), d.blockId(1)};
  Value sequence = k.load(k.buffer(op.getSequences()), {pages.row}), used = pagesInUse(k, layer, sequence, pages.kvHead);
  Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {pages.row}), d.i32(0));
  int64_t steps = llvm::divideCeil(layout.getPage(), share.rows), perHead = selecting / kvHeads;
  Value first = d.add(d.mul(d.blockId(0), d.i32(ofBlock)), d.mul(d.warp(), d.i32(kPagesOfWarp)));
  Value last = d.minS(d.add(first, d.i32(kPagesOfWarp)), d.i32(layout.getMaxPages()));
  SmallVector<PageList> lists; // of the KV head's selecting ones
  for (int64_t sub = 0; sub < perHead; ++sub) {
    Value head = d.add(d.mul(pages.kvHead, d.i32(perHead)), d.i32(sub));
    lists.emplace_back(k, op.getState(), op.getPositions(), op.getSequences(), selecting, pages.row, head);
    lists.back().take(op.getIndices(), op.getCount());
  }
  d.loop(first, last, d.i32(1), [&](Value page) {
    SmallVector<Value> sums(steps, d.f32(0));
    for (PageList &list : lists) {
      Value reads = d.bitAnd(active, d.lt(page, op.getIndices() ? used : list.pages));
      if (op.getIndices())
        reads = d.bitAnd(reads, pages.isListed(list.head, page, list.pages));
      sums = d.ifThenElse(
          reads, [&] { return pages.add(list, page, sums); }, [&] { return sums; });
    }
    for (int64_t u = 0; u < steps; ++u) {
      Value slot = d.add(share.row(d), d.i32(u * share.rows));
      Value writes = d.bitAnd(d.eq(d.remU(d.lane(), share.lanes), d.i32(0)), d.lt(slot, d.i32(layout.getPage())));
      d.ifThen(writes, [&] {
        k.store(sums[u], mass,
                {pages.row, pages.kvHead, d.add(d.mul(page, d.i32(layout.getPage())), slot)});
      });
    }
  });
  return success();
}

const Template sparse::device::massSimtTemplate{whyNot, emit};
