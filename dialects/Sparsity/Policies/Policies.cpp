//===-- Policies.cpp - Helpers for the methods' implementations ---------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::sparsity;

LogicalResult sparse::sparsity::verifyParams(function_ref<InFlightDiagnostic()> emitError, const PolicySpec &spec,
                                             DictionaryAttr params) {
  DictionaryAttr complete = spec.complete(params, emitError);
  if (!complete)
    return failure();
  for (NamedAttribute parameter : complete)
    if (!params.get(parameter.getName()))
      return emitError() << "'" << spec.name << "' lacks its parameter '" << parameter.getName().strref() << "'";
  return success();
}

Value sparse::sparsity::i32Constant(OpBuilder &b, Location loc, int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value));
}

Value sparse::sparsity::f32Constant(OpBuilder &b, Location loc, double value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}

std::string sparse::sparsity::whyNotHeads(ArrayRef<int64_t> heads, const LayerFacts &facts) {
  for (int64_t head : heads)
    if (head >= facts.kvHeads)
      return llvm::formatv("there is no KV head {0}; legal: 0 to {1}", head, facts.kvHeads - 1);
  return "";
}

static bool overlap(PolicyAttrInterface one, PolicyAttrInterface other) {
  ArrayRef<int64_t> a = one.getHeads(), b = other.getHeads();
  return a.empty() || b.empty() || llvm::any_of(a, [&](int64_t head) { return llvm::is_contained(b, head); });
}

std::string sparse::sparsity::whyNotSameHeads(KVPolicyInterface one, Attribute other) {
  if (isa<KVPolicyInterface>(other) && overlap(one, cast<PolicyAttrInterface>(other)))
    return "both evict from the same KV heads; legal: 'heads' of its own for each";
  return "";
}

std::string sparse::sparsity::whyNotSameHeads(MergePolicyInterface one, Attribute other) {
  if (isa<MergePolicyInterface>(other) && overlap(one, cast<PolicyAttrInterface>(other)))
    return "both merge what the same KV heads evict; legal: 'heads' of its own for each";
  return "";
}

kvcache::FieldAttr sparse::sparsity::massField(MLIRContext *context) {
  Builder b(context);
  return kvcache::FieldAttr::get(context, b.getStringAttr("mass"), kvcache::Scope::Slot, b.getF32Type(),
                                 b.getDenseI64ArrayAttr({}), b.getF32FloatAttr(0.0), /*content=*/false,
                                 /*counter=*/false);
}

kvcache::FieldAttr sparse::sparsity::counterField(MLIRContext *context, StringRef name) {
  Builder b(context);
  return kvcache::FieldAttr::get(context, b.getStringAttr(name), kvcache::Scope::Head, b.getI32Type(),
                                 b.getDenseI64ArrayAttr({}), b.getI32IntegerAttr(0), /*content=*/false,
                                 /*counter=*/true);
}
