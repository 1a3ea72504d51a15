//===-- Policies.cpp - Helpers for the methods' implementations ---------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
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

std::string sparse::sparsity::whyNotSameHeads(KVPolicyInterface one, Attribute other) {
  auto second = dyn_cast<KVPolicyInterface>(other);
  if (!second)
    return "";
  ArrayRef<int64_t> a = one.getHeads(), b = second.getHeads();
  bool overlap = a.empty() || b.empty() || llvm::any_of(a, [&](int64_t head) { return llvm::is_contained(b, head); });
  return overlap ? "both evict from the same KV heads; legal: 'heads' of its own for each" : "";
}
