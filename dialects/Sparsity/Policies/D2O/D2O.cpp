//===-- D2O.cpp - Dynamic discriminative operations ---------------------------------------------------------------===//
//
// Z. Wan et al., "D2O: Dynamic Discriminative Operations for Efficient Long-Context Inference of Large Language Models",
// arXiv 2406.13035.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

/// The threshold before anything was evicted.
static constexpr double kNone = -std::numeric_limits<double>::infinity();

const PolicySpec &D2OAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const StringRef modes[] = {"code", "convex"}, prefills[] = {"dense", "chunked"};
  static const PolicySpec spec{
      "d2o",
      PolicyKind::KV,
      "h2o with sinks, and evicted keys merge into the most similar that stay",
      "D2O, arXiv 2406.13035",
      {{"heavy", Kind::Budget, "heavy hitters that stay, sinks included", 512, "", {}, 0},
       {"recent", Kind::Budget, "most recent tokens that stay", 512, "", {}, 1},
       {"sinks", Kind::Integer, "first tokens that always stay", 4, "", {}, 0},
       {"mode", Kind::Choice, "what divides a merged key: code: 1 + their number; convex: 1 + their similarities", 0,
        "code", modes},
       {"merge_keys", Kind::Boolean, "keys merge too, not values alone", 1},
       {"alpha", Kind::Number, "part of the old threshold in the new one", 0, "", {}, 0, 1, 0.5},
       {"beta", Kind::Number, "part of the mean similarity in the new threshold", 0, "", {}, 0, 1, 0.5},
       {"over", Kind::Budget, "the context up to which both budgets grow with its length; 0: they are constant", 0, "", {}, 0},
       {"least", Kind::Budget, "slots that stay in a context however short; with over", 0, "", {}, 0},
       {"heads", Kind::Heads, "KV heads it governs; all when empty"},
       {"prefill", Kind::Choice, "dense: the prompt is read densely, then cut; chunked: cut after each of its chunks", 0,
        "dense", prefills}}};
  return spec;
}

LogicalResult D2OAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

std::string D2OAttr::whyNot(const LayerFacts &facts) const {
  int64_t heavy = intParam(getParams(), "heavy"), sinks = intParam(getParams(), "sinks");
  if (heavy < sinks)
    return llvm::formatv("{0} heavy hitters can't hold {1} sinks; legal: at least as many", heavy, sinks);
  std::string reason = whyNotGrowth(getGrowth(), getCap());
  return reason.empty() ? whyNotHeads(getHeads(), facts) : reason;
}

std::string D2OAttr::whyNotWith(Attribute other) const {
  std::string reason = whyNotSameHeads(KVPolicyInterface(*this), other);
  return reason.empty() ? whyNotSameHeads(MergePolicyInterface(*this), other) : reason;
}

ArrayRef<int64_t> D2OAttr::getHeads() const { return getParams().getAs<DenseI64ArrayAttr>("heads").asArrayRef(); }
bool D2OAttr::needsMass() const { return true; }
SmallVector<StringRef> D2OAttr::getSlotFields() const { return {"mass"}; }
StringRef D2OAttr::getThresholdField() const { return "threshold"; }
StringRef D2OAttr::getCounterField() const { return "merged"; }

void D2OAttr::getFields(const LayerFacts &, SmallVectorImpl<Attribute> &fields) const {
  Builder b(getContext());
  auto threshold = kvcache::FieldAttr::get(getContext(), b.getStringAttr(getThresholdField()), kvcache::Scope::Head,
                                           b.getF32Type(), b.getDenseI64ArrayAttr({}), b.getF32FloatAttr(kNone),
                                           /*content=*/false, /*counter=*/false);
  fields.append({massField(getContext()), threshold, counterField(getContext(), getCounterField())});
}

Value D2OAttr::buildStatistic(OpBuilder &b, Location loc, unsigned, Value old, Value mass) const {
  return arith::AddFOp::create(b, loc, old, mass);
}

//===-- Eviction --------------------------------------------------------------------------------------------------===//

int64_t D2OAttr::getCap() const { return intParam(getParams(), "heavy") + intParam(getParams(), "recent"); }

BudgetGrowth D2OAttr::getGrowth() const {
  int64_t over = intParam(getParams(), "over"), least = intParam(getParams(), "least");
  if (over == 0)
    return {over, least};
  // Room for the sinks and the recent tokens of a context in which the heavy hitters are fewer than the sinks.
  int64_t heavy = intParam(getParams(), "heavy"), sinks = intParam(getParams(), "sinks");
  int64_t recent = heavy == 0 ? 0 : intParam(getParams(), "recent") * sinks / heavy;
  return {over, std::max(least, sinks + std::max<int64_t>(recent, 1))};
}
kvcache::PrefillCap D2OAttr::getPrefillCap() const {
  bool chunked = getParams().getAs<StringAttr>("prefill") == "chunked";
  return chunked ? kvcache::PrefillCap::Chunk : kvcache::PrefillCap::End;
}

Value D2OAttr::buildKey(OpBuilder &b, Location loc, Value keyPos, Value newestPos, ValueRange fields) const {
  Value age = arith::SubIOp::create(b, loc, newestPos, keyPos);
  Value recent = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, age,
                                       budgetAt(b, loc, intParam(getParams(), "recent"),
                                                {getGrowth().over, /*least=*/1}, newestPos));
  Value sink = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, keyPos,
                                     i32Constant(b, loc, intParam(getParams(), "sinks")));
  return arith::SelectOp::create(b, loc, arith::OrIOp::create(b, loc, recent, sink),
                                 f32Constant(b, loc, std::numeric_limits<float>::infinity()), fields[0]);
}

//===-- Merging ---------------------------------------------------------------------------------------------------===//

MergeTargets D2OAttr::getTargets() const { return MergeTargets::Nearest; }
bool D2OAttr::mergesKeys() const { return boolParam(getParams(), "merge_keys"); }

Value D2OAttr::buildShare(OpBuilder &, Location, ValueRange, ValueRange, Value similarity, Value) const {
  return similarity;
}

Value D2OAttr::buildThreshold(OpBuilder &b, Location loc, Value old, Value mean) const {
  auto part = [&](Value of, StringRef parameter) -> Value {
    double factor = getParams().getAs<FloatAttr>(parameter).getValueAsDouble();
    return arith::MulFOp::create(b, loc, of, f32Constant(b, loc, factor));
  };
  Value first = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, old, f32Constant(b, loc, kNone));
  Value next = arith::AddFOp::create(b, loc, part(old, "alpha"), part(mean, "beta"));
  return arith::SelectOp::create(b, loc, first, mean, next);
}

MergeWeights D2OAttr::buildWeights(OpBuilder &b, Location loc, Value share, Value threshold, Value) const {
  Value merges = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGE, share, threshold);
  if (getParams().getAs<StringAttr>("mode") == "code")
    return {merges, share, f32Constant(b, loc, 1)};
  Value weight = arith::MaximumFOp::create(b, loc, share, f32Constant(b, loc, 0));
  return {merges, weight, weight};
}
