//===-- Cam.cpp - Merging of evicted values -----------------------------------------------------------------------===//
//
// Y. Zhang et al., "CaM: Cache Merging for Memory-efficient LLMs Inference", ICML 2024, PMLR 235:58840.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

const PolicySpec &CamAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const StringRef modes[] = {"bernoulli", "expectation"}, attentions[] = {"gathered", "step"};
  static const PolicySpec spec{
      "cam",
      PolicyKind::KV,
      "beside a method that evicts: the value of an evicted key goes into those that follow it",
      "CaM, PMLR 235:58840",
      {{"followers", Kind::Integer, "kept slots, next by position, that share an evicted value", 32, "", {}, 1, 256},
       {"mode", Kind::Choice, "bernoulli: merge all of it or nothing, by chance; expectation: the chance's part of it", 0,
        "bernoulli", modes},
       {"attention", Kind::Choice, "what the chance is made of, gathered: all that slots have received; step: the last step's",
        0, "gathered", attentions},
       {"seed", Kind::Integer, "of bernoulli: seed, layer, KV head and position decide", 0, "", {}, 0},
       {"heads", Kind::Heads, "KV heads it governs; all when empty"}}};
  return spec;
}

LogicalResult CamAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

std::string CamAttr::whyNot(const LayerFacts &facts) const { return whyNotHeads(getHeads(), facts); }
std::string CamAttr::whyNotWith(Attribute other) const { return whyNotSameHeads(MergePolicyInterface(*this), other); }

ArrayRef<int64_t> CamAttr::getHeads() const { return getParams().getAs<DenseI64ArrayAttr>("heads").asArrayRef(); }
bool CamAttr::needsMass() const { return true; }

/// Whether the chance follows what the slots received in the last step alone.
static bool countsStep(CamAttr cam) { return cam.getParams().getAs<StringAttr>("attention") == "step"; }

SmallVector<StringRef> CamAttr::getSlotFields() const { return {countsStep(*this) ? "received" : "mass"}; }
StringRef CamAttr::getCounterField() const { return "merged"; }

void CamAttr::getFields(const LayerFacts &, SmallVectorImpl<Attribute> &fields) const {
  fields.append({massField(getContext(), getSlotFields().front()), counterField(getContext(), getCounterField())});
}

Value CamAttr::buildStatistic(OpBuilder &b, Location loc, unsigned, Value old, Value mass) const {
  return countsStep(*this) ? mass : Value(arith::AddFOp::create(b, loc, old, mass));
}

MergeTargets CamAttr::getTargets() const { return MergeTargets::Following; }
int64_t CamAttr::getTargetCount() const { return intParam(getParams(), "followers"); }
bool CamAttr::isRandom() const { return getParams().getAs<StringAttr>("mode") == "bernoulli"; }
int64_t CamAttr::getSeed() const { return intParam(getParams(), "seed"); }

Value CamAttr::buildShare(OpBuilder &b, Location loc, ValueRange own, ValueRange means, Value, Value uniform) const {
  using Pred = arith::CmpFPredicate;
  Value zero = f32Constant(b, loc, 0), one = f32Constant(b, loc, 1);
  auto is = [&](Pred predicate, Value x, Value y) -> Value { return arith::CmpFOp::create(b, loc, predicate, x, y); };
  auto choose = [&](Value condition, Value x, Value y) -> Value {
    return arith::SelectOp::create(b, loc, condition, x, y);
  };
  // Ordered comparisons: what is no number merges nothing. Targets without any attention take all.
  Value ratio = arith::DivFOp::create(b, loc, own[0], means[0]);
  Value clamped = choose(is(Pred::OGE, ratio, one), one, choose(is(Pred::OGT, ratio, zero), ratio, zero));
  Value all = choose(is(Pred::OGT, own[0], zero), one, zero);
  Value probability = choose(is(Pred::OEQ, means[0], zero), all, clamped);
  return isRandom() ? choose(is(Pred::OLT, uniform, probability), one, zero) : probability;
}

MergeWeights CamAttr::buildWeights(OpBuilder &b, Location loc, Value share, Value, Value count) const {
  Value merges = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, share, f32Constant(b, loc, 0));
  return {merges, arith::DivFOp::create(b, loc, share, count), {}};
}
