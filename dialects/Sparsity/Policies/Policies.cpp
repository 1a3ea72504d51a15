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

static Value wide(OpBuilder &b, Location loc, int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
}

/// `length` in 64 bits, which products of two i32 need.
static Value grown(OpBuilder &b, Location loc, int64_t most, BudgetGrowth growth, Value length) {
  auto wide = [&](int64_t value) { return ::wide(b, loc, value); };
  Value share = arith::DivSIOp::create(b, loc, arith::MulIOp::create(b, loc, length, wide(most)), wide(growth.over));
  Value capped = arith::MinSIOp::create(b, loc, share, wide(most));
  Value slots = arith::MaxSIOp::create(b, loc, capped, wide(growth.least));
  return arith::TruncIOp::create(b, loc, b.getI32Type(), slots);
}

Value sparse::sparsity::budgetAt(OpBuilder &b, Location loc, int64_t most, BudgetGrowth growth, Value newest) {
  if (growth.over == 0)
    return i32Constant(b, loc, most);
  Value last = arith::ExtSIOp::create(b, loc, b.getI64Type(), newest);
  return grown(b, loc, most, growth, arith::AddIOp::create(b, loc, last, wide(b, loc, 1)));
}

Value sparse::sparsity::budgetOf(OpBuilder &b, Location loc, int64_t most, BudgetGrowth growth, Value length) {
  if (growth.over == 0)
    return i32Constant(b, loc, most);
  return grown(b, loc, most, growth, arith::ExtSIOp::create(b, loc, b.getI64Type(), length));
}

std::string sparse::sparsity::whyNotGrowth(BudgetGrowth growth, int64_t most) {
  if (growth.over == 0)
    return growth.least == 0 ? "" : "'least' without 'over' means nothing; legal: both or neither";
  if (growth.over < most)
    return llvm::formatv("a budget of {0} tokens can't grow over {1}; legal: an 'over' of at least {0}", most,
                         growth.over);
  if (growth.least > most)
    return llvm::formatv("a budget of {0} tokens can't be {1} at least; legal: a 'least' of at most {0}", most,
                         growth.least);
  return "";
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

kvcache::FieldAttr sparse::sparsity::massField(MLIRContext *context, StringRef name) {
  Builder b(context);
  return kvcache::FieldAttr::get(context, b.getStringAttr(name), kvcache::Scope::Slot, b.getF32Type(),
                                 b.getDenseI64ArrayAttr({}), b.getF32FloatAttr(0.0), /*content=*/false,
                                 /*counter=*/false);
}

kvcache::FieldAttr sparse::sparsity::counterField(MLIRContext *context, StringRef name) {
  Builder b(context);
  return kvcache::FieldAttr::get(context, b.getStringAttr(name), kvcache::Scope::Head, b.getI32Type(),
                                 b.getDenseI64ArrayAttr({}), b.getI32IntegerAttr(0), /*content=*/false,
                                 /*counter=*/true);
}
