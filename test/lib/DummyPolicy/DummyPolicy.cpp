//===-- DummyPolicy.cpp - Methods that only tests know ------------------------------------------------------------===//
#include "test/lib/DummyPolicy/DummyPolicy.h"
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include <limits>

using namespace mlir;
using namespace sparse;
using namespace sparse::sparsity;
using namespace sparse::test_policy;

#include "test/lib/DummyPolicy/DummyPolicyDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "test/lib/DummyPolicy/DummyPolicyAttrs.cpp.inc"

void TestPolicyDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "test/lib/DummyPolicy/DummyPolicyAttrs.cpp.inc"
      >();
  PolicyRegistry &policies = PolicyRegistry::get(getContext());
  policies.add<DummyScoreAttr>();
  policies.add<DummyNewestAttr>();
}

void sparse::test_policy::registerDummyPolicies(DialectRegistry &registry) {
  registry.insert<TestPolicyDialect>();
  // A policy file names methods before any of their attributes exist.
  registry.addExtension(+[](MLIRContext *context, SparsityDialect *) { context->loadDialect<TestPolicyDialect>(); });
}

//===-- dummy_score -----------------------------------------------------------------------------------------------===//

const PolicySpec &DummyScoreAttr::getSpec() {
  static const PolicySpec spec{"dummy_score",
                               PolicyKind::Attention,
                               "pages of greatest q * max",
                               "no paper",
                               {{"pages", ParameterSpec::Kind::Integer, "pages a query may read", 4, "", {}, 1}}};
  return spec;
}

LogicalResult DummyScoreAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

void DummyScoreAttr::getFields(const LayerFacts &facts, SmallVectorImpl<Attribute> &fields) const {
  Builder b(getContext());
  auto type = cast<FloatType>(facts.type);
  fields.push_back(kvcache::FieldAttr::get(getContext(), b.getStringAttr("dummy_max"), kvcache::Scope::Page, type,
                                           b.getDenseI64ArrayAttr({facts.keyDim}),
                                           FloatAttr::get(type, APFloat::getInf(type.getFloatSemantics(), true)),
                                           /*content=*/true, /*counter=*/false));
}

Value DummyScoreAttr::buildFieldUpdate(OpBuilder &b, Location loc, StringRef, Value old, Value key) const {
  return arith::MaximumFOp::create(b, loc, old, key);
}

int64_t DummyScoreAttr::getPageBudget() const { return intParam(getParams(), "pages"); }
bool DummyScoreAttr::isPerQueryHead() const { return false; }
bool DummyScoreAttr::isGroupSum() const { return true; }
SmallVector<StringRef> DummyScoreAttr::getScoreFields() const { return {"dummy_max"}; }

Value DummyScoreAttr::buildScoreTerm(OpBuilder &b, Location loc, Value query, ValueRange fields) const {
  return arith::MulFOp::create(b, loc, query, fields[0]);
}

//===-- dummy_newest ----------------------------------------------------------------------------------------------===//

const PolicySpec &DummyNewestAttr::getSpec() {
  static const PolicySpec spec{"dummy_newest",
                               PolicyKind::KV,
                               "the newest key but the current one leaves",
                               "no paper",
                               {{"cap", ParameterSpec::Kind::Integer, "slots that stay", 8, "", {}, 1}}};
  return spec;
}

LogicalResult DummyNewestAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

int64_t DummyNewestAttr::getCap() const { return intParam(getParams(), "cap"); }
kvcache::PrefillCap DummyNewestAttr::getPrefillCap() const { return kvcache::PrefillCap::End; }

Value DummyNewestAttr::buildKey(OpBuilder &b, Location loc, Value keyPos, Value newestPos, ValueRange, Value) const {
  // The least key leaves: -position, but never the current token.
  Value negated = arith::NegFOp::create(b, loc, arith::SIToFPOp::create(b, loc, b.getF32Type(), keyPos));
  Value current = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, keyPos, newestPos);
  return arith::SelectOp::create(b, loc, current, f32Constant(b, loc, std::numeric_limits<float>::infinity()), negated);
}
