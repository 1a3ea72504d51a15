//===-- PageTopK.cpp - Quest page selection -----------------------------------------------------------------------===//
//
// J. Tang et al., "Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference", arXiv 2406.10774.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

const PolicySpec &PageTopKAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const StringRef groups[] = {"max", "sum"};
  static const PolicySpec spec{
      "page_topk",
      PolicyKind::Attention,
      "decode queries read the pages of highest score bound",
      "Quest, arXiv 2406.10774",
      {{"page", Kind::Integer, "tokens of a page", 16, "", {}, 1},
       {"budget", Kind::Budget, "tokens a query may read, the current page included", 2048, "", {}, 1},
       {"over", Kind::Budget, "the tokens in a head up to which the budget grows with them; 0: it is constant", 0, "", {}, 0},
       {"least", Kind::Budget, "tokens a query may read of a head however short; with over", 0, "", {}, 0},
       {"group", Kind::Choice, "how the query heads of a KV head share a selection", 0, "max", groups},
       {"per_query_head", Kind::Boolean, "select for each query head on its own", 0},
       {"sinks", Kind::Integer, "first tokens whose pages are always read", 0, "", {}, 0}}};
  return spec;
}

LogicalResult PageTopKAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

std::string PageTopKAttr::whyNot(const LayerFacts &) const {
  int64_t page = intParam(getParams(), "page"), budget = intParam(getParams(), "budget");
  if (budget < page)
    return llvm::formatv("a budget of {0} tokens is less than a page of {1}; legal: a budget of at least {1}", budget,
                         page);
  if (getSinkPages() + 1 > getPageBudget())
    return llvm::formatv("a budget of {0} pages is too small for {1} sink pages and the current one; legal: a budget "
                         "of at least {2} tokens",
                         getPageBudget(), getSinkPages(), (getSinkPages() + 1) * page);
  return whyNotGrowth({intParam(getParams(), "over"), intParam(getParams(), "least")}, budget);
}

std::string PageTopKAttr::whyNotWith(Attribute) const { return ""; }

int64_t PageTopKAttr::getPageConstraint() const { return intParam(getParams(), "page"); }
int64_t PageTopKAttr::getPageBudget() const {
  return std::max<int64_t>(1, intParam(getParams(), "budget") / intParam(getParams(), "page"));
}
Value PageTopKAttr::buildPageBudget(OpBuilder &b, Location loc, Value live) const {
  int64_t page = intParam(getParams(), "page"), over = intParam(getParams(), "over");
  if (over == 0)
    return {};
  int64_t least = std::max(intParam(getParams(), "least"), (getSinkPages() + 1) * page);
  Value tokens = budgetOf(b, loc, intParam(getParams(), "budget"), {over, least}, live);
  return arith::DivSIOp::create(b, loc, tokens, i32Constant(b, loc, page));
}
int64_t PageTopKAttr::getSinkPages() const {
  return llvm::divideCeil(intParam(getParams(), "sinks"), intParam(getParams(), "page"));
}
bool PageTopKAttr::isPerQueryHead() const { return boolParam(getParams(), "per_query_head"); }
bool PageTopKAttr::isGroupSum() const { return getParams().getAs<StringAttr>("group") == "sum"; }

void PageTopKAttr::getFields(const LayerFacts &facts, SmallVectorImpl<Attribute> &fields) const {
  Builder b(getContext());
  auto type = cast<FloatType>(facts.type);
  for (bool isMax : {true, false})
    fields.push_back(kvcache::FieldAttr::get(
        getContext(), b.getStringAttr(isMax ? "page_max" : "page_min"), kvcache::Scope::Page, type,
        b.getDenseI64ArrayAttr({facts.keyDim}),
        FloatAttr::get(type, APFloat::getInf(type.getFloatSemantics(), /*Negative=*/isMax)), /*content=*/true,
        /*counter=*/false));
}

Value PageTopKAttr::buildFieldUpdate(OpBuilder &b, Location loc, StringRef field, Value old, Value key) const {
  if (field == "page_max")
    return arith::MaximumFOp::create(b, loc, old, key);
  return arith::MinimumFOp::create(b, loc, old, key);
}

SmallVector<StringRef> PageTopKAttr::getScoreFields() const { return {"page_max", "page_min"}; }

Value PageTopKAttr::buildScoreTerm(OpBuilder &b, Location loc, Value query, ValueRange fields) const {
  Value upper = arith::MulFOp::create(b, loc, query, fields[0]);
  Value lower = arith::MulFOp::create(b, loc, query, fields[1]);
  return arith::MaximumFOp::create(b, loc, upper, lower);
}

SmallVector<QueryPart> PageTopKAttr::getScoreParts() const {
  // max(q M, q m) is q M for a positive q and q m for a negative one, since m <= M.
  return {QueryPart::Positive, QueryPart::Negative};
}
