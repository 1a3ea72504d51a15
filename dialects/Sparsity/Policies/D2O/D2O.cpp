//===-- D2O.cpp - Dynamic discriminative operations ---------------------------------------------------------------===//
//
// Z. Wan et al., "D2O: Dynamic Discriminative Operations for Efficient Long-Context Inference of Large Language Models",
// arXiv 2406.13035.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

/// The threshold before anything was evicted.
static constexpr double kNone = -std::numeric_limits<double>::infinity();

const PolicySpec &D2OAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const StringRef modes[] = {"code", "convex"}, prefills[] = {"dense", "chunked"};
  static const StringRef budgets[] = {"uniform", "variance"};
  static const PolicySpec spec{
      "d2o",
      PolicyKind::KV,
      "h2o with sinks, and evicted keys merge into the most similar that stay",
      "D2O, arXiv 2406.13035",
      {{"heavy", Kind::Budget, "heavy hitters that stay, sinks included", 512, "", {}, 0},
       {"recent", Kind::Budget, "most recent tokens that stay", 512, "", {}, 1},
       {"sinks", Kind::Integer, "first tokens that always stay", 4, "", {}, 0},
       {"budgets", Kind::Choice,
        "uniform: of every layer alike; variance: layers share them by how evenly the first prompt's attention fell", 0,
        "uniform", budgets},
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
  if (sharesBudget() && getPrefillCap() == kvcache::PrefillCap::Chunk)
    return "'budgets: variance' looks at a whole prompt, 'prefill: chunked' cuts it before; legal: 'prefill: dense'";
  if (sharesBudget() && getGrowth().over != 0)
    return "'budgets: variance' sets budgets once, from the first prompt, 'over' lets them grow; legal: one of the two";
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

/// Both budgets together, as the parameters say them.
static int64_t askedOf(DictionaryAttr params) { return intParam(params, "heavy") + intParam(params, "recent"); }

/// Room for the sinks and the recent tokens of a context in which the heavy hitters are fewer than the sinks.
static int64_t leastOf(DictionaryAttr params) {
  int64_t heavy = intParam(params, "heavy"), sinks = intParam(params, "sinks");
  int64_t recent = heavy == 0 ? 0 : intParam(params, "recent") * sinks / heavy;
  return sinks + std::max<int64_t>(recent, 1);
}

int64_t D2OAttr::getCap() const {
  int64_t budget = askedOf(getParams());
  if (!sharesBudget())
    return budget;
  // A softmax over logits in [-1, 0] is less than e times their mean. No sequence has more tokens than an integer says.
  auto most = static_cast<int64_t>(std::ceil(std::exp(1.0) * static_cast<double>(budget)));
  return std::min(most, ParameterSpec::kMaxInteger);
}

BudgetGrowth D2OAttr::getGrowth() const {
  int64_t over = intParam(getParams(), "over"), least = intParam(getParams(), "least");
  return {over, over == 0 ? least : std::max(least, leastOf(getParams()))};
}
kvcache::PrefillCap D2OAttr::getPrefillCap() const {
  bool chunked = getParams().getAs<StringAttr>("prefill") == "chunked";
  return chunked ? kvcache::PrefillCap::Chunk : kvcache::PrefillCap::End;
}

/// The recent tokens of a head that keeps `cap` slots (i32): their part of the parameters' budgets, at least one.
static Value recentOf(OpBuilder &b, Location loc, DictionaryAttr params, Value cap) {
  auto wide = [&](int64_t value) -> Value { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value)); };
  Value slots = arith::ExtSIOp::create(b, loc, b.getI64Type(), cap);
  Value part = arith::DivSIOp::create(b, loc, arith::MulIOp::create(b, loc, slots, wide(intParam(params, "recent"))),
                                      wide(askedOf(params)));
  return arith::TruncIOp::create(b, loc, b.getI32Type(), arith::MaxSIOp::create(b, loc, part, wide(1)));
}

Value D2OAttr::buildKey(OpBuilder &b, Location loc, Value keyPos, Value newestPos, ValueRange fields, Value cap) const {
  Value age = arith::SubIOp::create(b, loc, newestPos, keyPos);
  BudgetGrowth growth{getGrowth().over, /*least=*/1};
  Value window = sharesBudget() ? recentOf(b, loc, getParams(), cap)
                                : budgetAt(b, loc, intParam(getParams(), "recent"), growth, newestPos);
  Value recent = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, age, window);
  Value sink = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, keyPos,
                                     i32Constant(b, loc, intParam(getParams(), "sinks")));
  return arith::SelectOp::create(b, loc, arith::OrIOp::create(b, loc, recent, sink),
                                 f32Constant(b, loc, std::numeric_limits<float>::infinity()), fields[0]);
}

//===-- Budgets of layers -----------------------------------------------------------------------------------------===//

bool D2OAttr::sharesBudget() const { return getParams().getAs<StringAttr>("budgets") == "variance"; }
StringRef D2OAttr::getSpreadField() const { return "mass"; }

Value D2OAttr::buildShareLogit(OpBuilder &b, Location loc, Value spread) const {
  return arith::NegFOp::create(b, loc, spread);
}

Value D2OAttr::buildBudget(OpBuilder &b, Location loc, Value share, Value length) const {
  int64_t budget = askedOf(getParams()), most = getCap();
  // To the nearest integer: layers whose shares differ by rounding alone get the same. What is no number becomes 0.
  Value slots = arith::MulFOp::create(b, loc, share, f32Constant(b, loc, static_cast<double>(budget)));
  slots = arith::AddFOp::create(b, loc, slots, f32Constant(b, loc, 0.5));
  slots = arith::MaxNumFOp::create(b, loc, slots, f32Constant(b, loc, 0));
  slots = arith::MinNumFOp::create(b, loc, slots, f32Constant(b, loc, static_cast<double>(most)));
  Value own = arith::FPToSIOp::create(b, loc, b.getI32Type(), slots);
  // A hundredth of the tokens at least, as in the authors' code.
  Value hundredth = arith::DivSIOp::create(b, loc, length, i32Constant(b, loc, 100));
  Value least = arith::MaxSIOp::create(b, loc, hundredth, i32Constant(b, loc, leastOf(getParams())));
  return arith::MinSIOp::create(b, loc, arith::MaxSIOp::create(b, loc, own, least), i32Constant(b, loc, most));
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
