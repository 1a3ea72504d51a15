//===-- H2O.cpp - Heavy-hitter oracle -----------------------------------------------------------------------------===//
//
// Z. Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models",
// arXiv 2306.14048.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

const PolicySpec &H2OAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const StringRef prefills[] = {"dense", "chunked"};
  static const PolicySpec spec{
      "h2o",
      PolicyKind::KV,
      "the slots of most accumulated attention and the most recent ones stay",
      "H2O, arXiv 2306.14048",
      {{"heavy", Kind::Budget, "heavy hitters that stay", 512, "", {}, 0},
       {"recent", Kind::Budget, "most recent tokens that stay", 512, "", {}, 1},
       {"over", Kind::Budget, "the context up to which both budgets grow with its length; 0: they are constant", 0, "", {}, 0},
       {"least", Kind::Budget, "slots that stay in a context however short; with over", 0, "", {}, 0},
       {"heads", Kind::Heads, "KV heads it governs; all when empty"},
       {"prefill", Kind::Choice, "dense: the prompt is read densely, then cut; chunked: cut after each of its chunks", 0,
        "dense", prefills}}};
  return spec;
}

LogicalResult H2OAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

std::string H2OAttr::whyNot(const LayerFacts &facts) const {
  std::string reason = whyNotGrowth(getGrowth(), getCap());
  return reason.empty() ? whyNotHeads(getHeads(), facts) : reason;
}
std::string H2OAttr::whyNotWith(Attribute other) const {
  return whyNotSameHeads(KVPolicyInterface(*this), other);
}

ArrayRef<int64_t> H2OAttr::getHeads() const { return getParams().getAs<DenseI64ArrayAttr>("heads").asArrayRef(); }
int64_t H2OAttr::getCap() const { return intParam(getParams(), "heavy") + intParam(getParams(), "recent"); }
BudgetGrowth H2OAttr::getGrowth() const {
  int64_t over = intParam(getParams(), "over"), least = intParam(getParams(), "least");
  return {over, over == 0 ? least : std::max<int64_t>(least, 1)};
}
kvcache::PrefillCap H2OAttr::getPrefillCap() const {
  bool chunked = getParams().getAs<StringAttr>("prefill") == "chunked";
  return chunked ? kvcache::PrefillCap::Chunk : kvcache::PrefillCap::End;
}
bool H2OAttr::needsMass() const { return true; }

void H2OAttr::getFields(const LayerFacts &, SmallVectorImpl<Attribute> &fields) const {
  fields.push_back(massField(getContext()));
}

SmallVector<StringRef> H2OAttr::getSlotFields() const { return {"mass"}; }

Value H2OAttr::buildStatistic(OpBuilder &b, Location loc, unsigned, Value old, Value mass) const {
  return arith::AddFOp::create(b, loc, old, mass);
}

Value H2OAttr::buildKey(OpBuilder &b, Location loc, Value keyPos, Value newestPos, ValueRange fields, Value) const {
  // The newest `recent` positions are never evicted, so they are exactly the `recent` newest slots.
  Value age = arith::SubIOp::create(b, loc, newestPos, keyPos);
  Value recent = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, age,
                                       budgetAt(b, loc, intParam(getParams(), "recent"),
                                                {getGrowth().over, /*least=*/1}, newestPos));
  return arith::SelectOp::create(b, loc, recent, f32Constant(b, loc, std::numeric_limits<float>::infinity()),
                                 fields[0]);
}
