//===-- Sparsity.cpp - The sparsity dialect -----------------------------------------------------------------------===//
#include "dialects/Sparsity/Sparsity.h"
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace sparse::sparsity;

#include "dialects/Sparsity/SparsityDialect.cpp.inc"
#include "dialects/Sparsity/SparsityEnums.cpp.inc"
#include "dialects/Sparsity/SparsityInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Sparsity/SparsityAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Sparsity/SparsityOps.cpp.inc"

namespace {
/// Policies stand on every attention, op and layout that follows them: they print by the method's name.
struct SparsityAsmInterface : public OpAsmDialectInterface {
  using OpAsmDialectInterface::OpAsmDialectInterface;

  AliasResult getAlias(Attribute attr, raw_ostream &os) const override {
    auto policy = dyn_cast<PolicyAttrInterface>(attr);
    if (!policy)
      return AliasResult::NoAlias;
    // No alias may end with a digit.
    StringRef name = policy.getPolicySpec().name;
    os << name << (llvm::isDigit(name.back()) ? "_" : "");
    return AliasResult::FinalAlias;
  }
};
} // namespace

void SparsityDialect::initialize() {
  addInterfaces<SparsityAsmInterface>();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Sparsity/SparsityAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Sparsity/SparsityOps.cpp.inc"
      >();
  registerPolicyAttributes();
}

void SparsityDialect::registerPolicyAttributes() {
#define SPARSITY_POLICY(Attr) policies.add<Attr>();
#include "dialects/Sparsity/Policies/Policies.inc"
#undef SPARSITY_POLICY
}

LogicalResult SparsityDialect::verifyOperationAttribute(Operation *op, NamedAttribute attr) {
  StringRef name = attr.getName();
  if (name == kSiteAttr && !isa<SiteAttr>(attr.getValue()))
    return op->emitOpError("'") << name << "' must be a #sparsity.site";
  if (name == kSelectionAttr && !isa<SelectionPolicyInterface>(attr.getValue()))
    return op->emitOpError("'") << name << "' must be an attention policy";
  if (name == kPolicyAttr && !isa<StringAttr>(attr.getValue()))
    return op->emitOpError("'") << name << "' must be the text of a policy";
  if (name == kKVAttr) {
    auto array = dyn_cast<ArrayAttr>(attr.getValue());
    auto isOne = [](Attribute a) {
      auto policy = dyn_cast<PolicyAttrInterface>(a);
      return policy && policy.getPolicySpec().kind == PolicyKind::KV;
    };
    if (!array || !llvm::all_of(array, isOne))
      return op->emitOpError("'") << name << "' must be an array of KV policies";
  }
  return success();
}

LogicalResult AttendOp::verify() {
  if (!getIndices() != !getCount())
    return emitOpError("takes indices and count together or neither");
  if (getIndices() && getPrefill())
    return emitOpError("takes no selection in prefill: pages are selected for single decode queries");
  return success();
}

int64_t AttendPartOp::slotsOfSegment(kvcache::LayoutAttr layout, int64_t segment, int64_t segments) {
  int64_t pages = segment > 0 ? segment : llvm::divideCeil(layout.getMaxPages(), segments);
  return pages * layout.getPage();
}

Value SampleOp::getTied(Value result) {
  if (result == getNewIds())
    return getIds();
  if (result == getNewPositions())
    return getPositions();
  if (result == getNewActive())
    return getActive();
  return result == getNewCounters() ? getCounters() : Value();
}

LogicalResult SampleOp::verify() {
  auto logits = cast<RankedTensorType>(getLogits().getType());
  if (logits.getRank() != 2 || !logits.hasStaticShape() || !logits.getElementType().isF32() || logits.getDimSize(1) == 0)
    return emitOpError("takes logits of f32 [rows, vocabulary], not ") << logits;
  int64_t rows = logits.getDimSize(0);
  Builder b(getContext());
  auto expect = [&](Value value, StringRef name, ArrayRef<int64_t> shape, Type element) -> LogicalResult {
    auto wanted = RankedTensorType::get(shape, element);
    if (value.getType() != wanted)
      return emitOpError("'") << name << "' must be " << wanted << ", not " << value.getType();
    return success();
  };
  auto stops = cast<RankedTensorType>(getStops().getType());
  if (stops.getRank() != 2)
    return emitOpError("'stops' must be [rows, tokens], not ") << stops;
  struct Expected {
    Value value;
    StringRef name;
    Type element;
  };
  Type i32 = b.getI32Type(), i64 = b.getI64Type(), f32 = b.getF32Type();
  for (const Expected &e : {Expected{getIds(), "ids", i32}, Expected{getPositions(), "positions", i32},
                            Expected{getActive(), "active", i32}, Expected{getTemperature(), "temperature", f32},
                            Expected{getTopK(), "top_k", i32}, Expected{getTopP(), "top_p", f32},
                            Expected{getSeeds(), "seeds", i64}, Expected{getCounters(), "counters", i64},
                            Expected{getTokens(), "tokens", i32}, Expected{getNewIds(), "new_ids", i32},
                            Expected{getNewPositions(), "new_positions", i32},
                            Expected{getNewActive(), "new_active", i32}, Expected{getNewCounters(), "new_counters", i64}})
    if (failed(expect(e.value, e.name, {rows}, e.element)))
      return failure();
  return expect(getStops(), "stops", {rows, stops.getDimSize(1)}, i32);
}
