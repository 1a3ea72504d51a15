//===-- KVCache.cpp - The kvcache dialect -------------------------------------------------------------------------===//
#include "dialects/KVCache/KVCache.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/SmallSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace sparse::kvcache;

#include "dialects/KVCache/KVCacheDialect.cpp.inc"
#include "dialects/KVCache/KVCacheEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/KVCache/KVCacheAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/KVCache/KVCacheTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/KVCache/KVCacheOps.cpp.inc"

namespace {
/// Layouts are long and shared by many ops and types: they print by name.
struct KVCacheAsmInterface : public OpAsmDialectInterface {
  using OpAsmDialectInterface::OpAsmDialectInterface;

  AliasResult getAlias(Attribute attr, raw_ostream &os) const override {
    if (!isa<LayoutAttr>(attr))
      return AliasResult::NoAlias;
    os << "layout";
    return AliasResult::FinalAlias;
  }
  AliasResult getAlias(Type type, raw_ostream &os) const override {
    if (!isa<LayerType>(type))
      return AliasResult::NoAlias;
    os << "layer";
    return AliasResult::FinalAlias;
  }
};
} // namespace

void KVCacheDialect::initialize() {
  addInterfaces<KVCacheAsmInterface>();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/KVCache/KVCacheAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/KVCache/KVCacheTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/KVCache/KVCacheOps.cpp.inc"
      >();
}

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t kvHeads, int64_t keyDim,
                                 int64_t valueDim, int64_t page, Type type, bool slotted, int64_t maxPages,
                                 DenseI64ArrayAttr caps, PrefillCap prefillCap, ArrayAttr fields, ArrayAttr, bool, bool,
                                 Type storage, DenseI64ArrayAttr capOver, DenseI64ArrayAttr capLeast,
                                 bool capsOfPrompt) {
  for (auto [name, value] : {std::pair<StringRef, int64_t>{"kv_heads", kvHeads},
                             {"key_dim", keyDim},
                             {"value_dim", valueDim},
                             {"page", page},
                             {"max_pages", maxPages}})
    if (value <= 0)
      return emitError() << name << " is " << value << "; it must be positive";
  if (!isa<FloatType>(type))
    return emitError() << "keys and values of type " << type << " are not supported; f32 and bf16 are";
  if (storage && storage != type && !storage.isInteger(8) && !isa<Float8E4M3FNType>(storage))
    return emitError() << "codes of type " << storage << " are not supported; i8 and f8E4M3FN are";
  if (caps.size() != kvHeads)
    return emitError() << "caps has " << caps.size() << " entries for " << kvHeads << " KV heads";
  for (int64_t cap : caps.asArrayRef()) {
    if (cap == 0 || cap < -1)
      return emitError() << "a cap of " << cap << " slots; it must be positive, or -1 for none";
    if (cap > 0 && !slotted)
      return emitError() << "a capped head needs slotted = true";
  }
  if (!capOver != !capLeast || (capOver && (capOver.size() != kvHeads || capLeast.size() != kvHeads)))
    return emitError() << "cap_over and cap_least go together, with an entry for each of the " << kvHeads << " KV heads";
  for (int64_t head = 0; capOver && head < kvHeads; ++head) {
    int64_t cap = caps[head], over = capOver[head], least = capLeast[head];
    if (over != 0 && (cap < 0 || over < cap || least < 1 || least > cap))
      return emitError() << "a cap of " << cap << " slots over " << over << " tokens with " << least
                         << " at least; legal: 1 <= cap_least <= cap <= cap_over";
  }
  bool capped = llvm::any_of(caps.asArrayRef(), [](int64_t cap) { return cap > 0; });
  if (capsOfPrompt && (!capped || prefillCap != PrefillCap::End))
    return emitError() << "caps_of_prompt needs a cap for some head and prefill_cap = end: a whole prompt sets them";
  llvm::SmallDenseSet<StringAttr> names;
  for (Attribute attr : fields) {
    auto field = dyn_cast<FieldAttr>(attr);
    if (!field)
      return emitError() << "fields holds " << attr << ", which is no #kvcache.field";
    if (field.getName() == kLikelyField &&
        (field.getScope() != Scope::Head || !field.getType().isInteger(32) || field.getShape().size() != 1))
      return emitError() << "field " << kLikelyField << " must hold i32 [P] for each head";
    if (!names.insert(field.getName()).second)
      return emitError() << "two different fields have the name " << field.getName()
                         << "; they must be the same, or differ in name";
  }
  return success();
}

int64_t LayoutAttr::getElementBytes() const { return getElementType().getIntOrFloatBitWidth() / 8; }

LayoutAttr::Cap LayoutAttr::getCap(int64_t head) const {
  if (!getCapOver() || getCapOver()[head] == 0)
    return {getCaps()[head], 0, 0};
  return {getCaps()[head], getCapOver()[head], getCapLeast()[head]};
}

bool LayoutAttr::isCapped() const {
  return llvm::any_of(getCaps().asArrayRef(), [](int64_t cap) { return cap > 0; });
}

int64_t LayoutAttr::getLikely() const {
  for (auto field : getFields().getAsRange<FieldAttr>())
    if (field.getName() == kLikelyField)
      return field.getShape()[0];
  return 0;
}

SmallVector<LayoutAttr::Component> LayoutAttr::getComponents() const {
  Builder b(getContext());
  Type i32 = b.getI32Type();
  int64_t dyn = ShapedType::kDynamic, heads = getKvHeads();
  auto tensor = [](ArrayRef<int64_t> shape, Type type) { return RankedTensorType::get(shape, type); };
  TypedAttr zero = b.getI32IntegerAttr(0), minusOne = b.getI32IntegerAttr(-1);
  SmallVector<Component> components;
  components.push_back({"key", tensor({dyn, getKeyDim(), getPage()}, getElementType())});
  components.push_back({"value", tensor({dyn, getPage(), getValueDim()}, getElementType())});
  components.push_back({"table", tensor({dyn, heads, getMaxPages()}, i32), Scope::Page, minusOne});
  components.push_back({"count", tensor({dyn, heads}, i32), Scope::Head, zero});
  components.push_back({"victim", tensor({dyn, heads}, i32), Scope::Head, minusOne});
  if (getSlotted()) {
    components.push_back({"position", tensor({dyn, heads, getMaxSlots()}, i32), Scope::Slot, minusOne});
    components.push_back({"tail", tensor({dyn, heads}, i32), Scope::Head, minusOne});
  }
  if (getCapsOfPrompt())
    components.push_back({"budget", tensor({dyn, heads}, i32), Scope::Head, zero});
  if (isQuantized()) {
    // A slot that nobody has written is within [-1, 1].
    double init = 1.0 / (getElementType().isInteger(8) ? 127 : 448);
    for (StringRef name : {"key_scale", "value_scale"})
      components.push_back({name, tensor({dyn, heads, getMaxSlots()}, b.getF16Type()), Scope::Slot,
                            FloatAttr::get(b.getF16Type(), init)});
  }
  for (auto field : getFields().getAsRange<FieldAttr>()) {
    SmallVector<int64_t> shape{dyn, heads};
    if (field.getScope() == Scope::Slot)
      shape.push_back(getMaxSlots());
    if (field.getScope() == Scope::Page)
      shape.push_back(getMaxPages());
    llvm::append_range(shape, field.getShape().asArrayRef());
    components.push_back({field.getName(), tensor(shape, field.getType()), field.getScope(), field.getInit(),
                          field.getContent(), field.getCounter()});
  }
  return components;
}

bool LayoutAttr::isByChannel(const Component &component) const {
  return getFieldsByChannel() && component.scope == Scope::Page && component.tensor.getRank() == 4;
}

MemRefType LayoutAttr::getMemRefType(const Component &component) const {
  RankedTensorType tensor = component.tensor;
  if (isByChannel(component)) {
    int64_t pages = getMaxPages(), ofHead = pages * tensor.getDimSize(3);
    return MemRefType::get(tensor.getShape(), tensor.getElementType(),
                           StridedLayoutAttr::get(getContext(), /*offset=*/0, {getKvHeads() * ofHead, ofHead, 1, pages}));
  }
  if (!component.isPool())
    return MemRefType::get(tensor.getShape(), tensor.getElementType());
  SmallVector<int64_t> strides{getPageBytes() / getElementBytes(), tensor.getDimSize(2), 1};
  if (component.name == "key" && getKeysBySlot())
    strides = {strides[0], 1, tensor.getDimSize(1)};
  return MemRefType::get(tensor.getShape(), tensor.getElementType(),
                         StridedLayoutAttr::get(getContext(), /*offset=*/0, strides));
}
