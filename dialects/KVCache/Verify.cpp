//===-- Verify.cpp - Shapes of the ops on a cache -----------------------------------------------------------------===//
#include "dialects/KVCache/ExpectTensor.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace sparse::kvcache;

static LayoutAttr layoutOf(Value state) { return cast<LayerType>(state.getType()).getLayout(); }

LogicalResult AppendOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Builder b(getContext());
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  int64_t rows = rowsOf(getPositions()), heads = layout.getKvHeads();
  return expectTensors(*this, {{getPositions(), "positions", {rows}, i32},
                               {getKey(), "key", {rows, heads * layout.getKeyDim()}, f32},
                               {getValue(), "value", {rows, heads * layout.getValueDim()}, f32},
                               {getSequences(), "sequences", {rows}, i32},
                               {getActive(), "active", {rows}, i32},
                               {getStatus(), "status", {1}, i32},
                               {getNewStatus(), "new_status", {1}, i32}});
}

LogicalResult CompressOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Builder b(getContext());
  Type i32 = b.getI32Type();
  int64_t rows = rowsOf(getPositions()), batch = getPrefill() ? 1 : rows, heads = layout.getKvHeads();
  if (getMass().size() > 1)
    return emitOpError("takes one 'mass' or none, not ") << getMass().size();
  if (getEvicted().size() > 1)
    return emitOpError("has one 'evicted' or none, not ") << getEvicted().size();
  if (getPrefill() && !getEvicted().empty())
    return emitOpError("has no 'evicted' in prefill: a chunk of a prompt evicts nothing");
  SmallVector<Expected> values{{getPositions(), "positions", {rows}, i32},
                               {getSequences(), "sequences", {rows}, i32},
                               {getActive(), "active", {rows}, i32}};
  for (Value mass : getMass())
    values.push_back({mass, "mass", {batch, heads, layout.getMaxSlots()}, b.getF32Type()});
  for (Value evicted : getEvicted())
    values.push_back({evicted, "evicted", {batch, heads}, i32});
  return expectTensors(*this, values);
}

LogicalResult ChooseOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  if (!layout.isCapped())
    return emitOpError("compacts a layer without a cap; legal: a layout with a cap for some head");
  Type i32 = Builder(getContext()).getI32Type();
  int64_t heads = layout.getKvHeads();
  return expectTensors(*this, {{getSequences(), "sequences", {1}, i32},
                               {getOrder(), "order", {heads, layout.getWidestCap()}, i32},
                               {getKept(), "kept", {heads}, i32},
                               {getKeys(), "keys", {heads, layout.getMaxSlots()}, i32}});
}

LogicalResult GatherOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Type i32 = Builder(getContext()).getI32Type();
  int64_t heads = layout.getKvHeads();
  if (failed(expectTensors(*this, {{getSequences(), "sequences", {1}, i32},
                                   {getOrder(), "order", {heads, layout.getWidestCap()}, i32},
                                   {getKept(), "kept", {heads}, i32}})))
    return failure();
  return expectCopies(*this, layout, getSlots());
}

LogicalResult PlaceOp::verify() {
  LayoutAttr layout = layoutOf(getState());
  Type i32 = Builder(getContext()).getI32Type();
  if (failed(expectTensors(
          *this, {{getSequences(), "sequences", {1}, i32}, {getKept(), "kept", {layout.getKvHeads()}, i32}})))
    return failure();
  return expectCopies(*this, layout, getSlots());
}

LogicalResult RebuildOp::verify() {
  return expectTensors(*this, {{getSequences(), "sequences", {1}, Builder(getContext()).getI32Type()}});
}
