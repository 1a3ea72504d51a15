//===-- ExpectTensor.cpp - What the operands and results of cache ops must be -------------------------------------===//
#include "dialects/KVCache/ExpectTensor.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace sparse::kvcache;

static bool fits(ArrayRef<int64_t> shape, ArrayRef<int64_t> expected) {
  return shape.size() == expected.size() && llvm::all_of_zip(shape, expected, [](int64_t size, int64_t wanted) {
    return size == wanted || (ShapedType::isDynamic(wanted) && !ShapedType::isDynamic(size));
  });
}

LogicalResult sparse::kvcache::expectTensors(Operation *op, ArrayRef<Expected> values) {
  for (const Expected &expected : values) {
    auto type = cast<RankedTensorType>(expected.value.getType());
    if (type.getElementType() != expected.element || !fits(type.getShape(), expected.shape))
      return op->emitOpError("'") << expected.name << "' must be "
                                  << RankedTensorType::get(expected.shape, expected.element) << ", not " << type;
  }
  return success();
}

int64_t sparse::kvcache::rowsOf(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 0 ? ShapedType::kDynamic : type.getDimSize(0);
}

Type sparse::kvcache::mergedType(LayoutAttr layout) {
  return layout.isQuantized() ? Float32Type::get(layout.getContext()) : layout.getType();
}

SmallVector<RankedTensorType> sparse::kvcache::copyTypes(LayoutAttr layout, Type number) {
  auto copies = [&](ArrayRef<int64_t> shape, Type element) {
    SmallVector<int64_t> all{layout.getKvHeads(), layout.getWidestCap()};
    llvm::append_range(all, shape);
    return RankedTensorType::get(all, element);
  };
  SmallVector<RankedTensorType> types{copies({layout.getKeyDim()}, number), copies({layout.getValueDim()}, number),
                                      copies({}, IntegerType::get(layout.getContext(), 32))};
  if (layout.isQuantized())
    types.append(2, copies({}, Float16Type::get(layout.getContext())));
  for (auto field : layout.getFields().getAsRange<FieldAttr>())
    if (field.getScope() == Scope::Slot)
      types.push_back(copies(field.getShape().asArrayRef(), field.getType()));
  return types;
}

LogicalResult sparse::kvcache::expectCopies(Operation *op, LayoutAttr layout, ValueRange copies) {
  bool merges = !copies.empty() && cast<RankedTensorType>(copies[0].getType()).getElementType() == mergedType(layout);
  SmallVector<RankedTensorType> types = copyTypes(layout, merges ? mergedType(layout) : layout.getElementType());
  if (copies.size() != types.size())
    return op->emitOpError("has ") << copies.size() << " copies of slots; this layout has " << types.size()
                                   << ": keys, values, positions, scales of codes and its slot fields";
  for (auto [index, copy, type] : llvm::enumerate(copies, types))
    if (copy.getType() != type)
      return op->emitOpError("copy ") << index << " must be " << type << ", not " << copy.getType();
  return success();
}

LogicalResult sparse::kvcache::expectField(Operation *op, LayoutAttr layout, StringRef name, Scope scope, Type type,
                                           StringRef who) {
  if (llvm::any_of(layout.getFields().getAsRange<FieldAttr>(), [&](FieldAttr field) {
        return field.getName() == name && field.getScope() == scope && field.getType() == type &&
               field.getShape().empty();
      }))
    return success();
  return op->emitOpError("needs ") << "a field '" << name << "' of " << type << " per " << stringifyScope(scope)
                                   << " for '" << who << "'; the layout has none";
}
