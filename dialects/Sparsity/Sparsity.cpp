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
    if (!array || !llvm::all_of(array, [](Attribute a) { return isa<KVPolicyInterface, MergePolicyInterface>(a); }))
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
