//===-- PageList.cpp - The pages that a decode row reads ----------------------------------------------------------===//
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

static Value pagesOf(Device &d, kvcache::LayoutAttr layout, Value slots) {
  return d.divU(d.add(slots, d.i32(layout.getPage() - 1)), layout.getPage());
}

Value sparse::device::pagesInUse(DeviceKernel &k, LayerBuffers &layer, Value sequence, Value kvHead) {
  return pagesOf(k.d, layer.layout, k.load(layer["count"], {sequence, kvHead}));
}

SelectedPages::SelectedPages(DeviceKernel &k, LayerBuffers &layer, sparsity::SelectOp op, Value sequence,
                             Value kvHead) {
  Device &d = k.d;
  // The append before has taken the victim's slot: every slot holds a token.
  Value live = k.load(layer["count"], {sequence, kvHead});
  used = pagesOf(d, layer.layout, live);
  budget = cast<sparsity::SelectionPolicyInterface>(op.getPolicy()).buildPageBudget(d.b, d.loc, live);
  if (!budget)
    budget = d.i32(cast<RankedTensorType>(op.getIndices().getType()).getDimSize(2));
  pages = d.minS(used, budget);
}

PageList::PageList(DeviceKernel &k, Value state, Value positions, Value sequences, int64_t selecting, Value row,
                   Value head)
    : k(k), d(k.d), layer(k.layer(state)), row(row), head(head) {
  kvHead = d.divU(head, selecting / layer.layout.getKvHeads());
  sequence = k.load(k.buffer(sequences), {row});
  queryPosition = k.load(k.buffer(positions), {row});
}

void PageList::take(Value indices, Value count) {
  if (indices) {
    this->indices = &k.buffer(indices);
    pages = k.load(k.buffer(count), {row, head});
    return;
  }
  pages = pagesInUse(k, layer, sequence, kvHead);
  if (!layer.layout.getSlotted()) {
    // Padding rows may hold any position.
    Value last = d.divU(d.maxS(queryPosition, d.i32(0)), layer.layout.getPage());
    pages = d.minS(pages, d.add(last, d.i32(1)));
  }
}

Value PageList::logical(Value i) { return indices ? k.load(*indices, {row, head, i}) : i; }

Value PageList::physical(Value logical) { return k.load(layer["table"], {sequence, kvHead, logical}); }

Value PageList::keyPosition(Value logical, Value slot) {
  Value at = d.add(d.mul(logical, d.i32(layer.layout.getPage())), slot);
  return layer.layout.getSlotted() ? k.load(layer["position"], {sequence, kvHead, at}) : at;
}

Value PageList::scale(StringRef pool, Value logical, Value slot) {
  if (!layer.layout.isQuantized())
    return {};
  Value at = d.add(d.mul(logical, d.i32(layer.layout.getPage())), slot);
  return d.toF32(k.load(layer[lowering::scaleOfPool(pool)], {sequence, kvHead, at}));
}

Value PageList::isVisible(Value position, int64_t window) {
  using arith::CmpIPredicate;
  Value visible = d.cmp(CmpIPredicate::sle, position, queryPosition);
  if (layer.layout.getSlotted())
    visible = d.bitAnd(visible, d.ge(position, d.i32(0)));
  if (window >= 0)
    visible = d.bitAnd(visible, d.cmp(CmpIPredicate::sle, d.sub(queryPosition, position), d.i32(window)));
  lowering::Emitter e(d.b, d.loc);
  if (Value policy = lowering::isVisible(e, layer.layout, e.toIndex(kvHead), queryPosition, position))
    visible = d.bitAnd(visible, policy);
  return visible;
}

Value PageList::segmentLength(int64_t segment, int64_t segments) {
  if (segment > 0)
    return d.i32(segment);
  return d.maxS(d.divU(d.add(pages, d.i32(segments - 1)), segments), d.i32(1));
}

Value sparse::device::loadRow(DeviceKernel &k, const Buffer &buffer, ValueRange indices, int64_t width) {
  Device &d = k.d;
  int64_t wide = std::min(width, 128 / static_cast<int64_t>(buffer.span.element.getIntOrFloatBitWidth()));
  bool aligned = width % wide == 0 && buffer.offset % wide == 0 &&
                 llvm::all_of(ArrayRef(buffer.strides).drop_back(), [&](int64_t stride) { return stride % wide == 0; });
  Value start = k.offsetOf(buffer, indices);
  auto type = VectorType::get({width}, d.b.getF32Type());
  Value vector = d.zero(type);
  for (int64_t i = 0; i < width; i += aligned ? wide : 1) {
    Value part = d.toF32(d.load(buffer.span, d.add(start, d.i64(i)), aligned ? wide : 1));
    vector = aligned ? Value(vector::InsertStridedSliceOp::create(d.b, d.loc, part, vector, ArrayRef<int64_t>{i},
                                                                  ArrayRef<int64_t>{1}))
                     : Value(vector::InsertOp::create(d.b, d.loc, part, vector, ArrayRef<int64_t>{i}));
  }
  return vector;
}

std::string sparse::device::whyNotWideRows(kvcache::LayoutAttr layout) {
  if (!layout.getKeysBySlot())
    return "keys lie by channel; a warp reads them by slot";
  int64_t width = std::max<int64_t>(8, 16 / layout.getElementBytes());
  for (int64_t dim : {layout.getKeyDim(), layout.getValueDim()})
    if (dim % width != 0)
      return "a head dimension of " + std::to_string(dim) + " is no multiple of " + std::to_string(width);
  return "";
}
