//===-- Legality.cpp - May these policies govern this layer? ------------------------------------------------------===//
#include "lib/Policy/Legality.h"

#include "llvm/ADT/Sequence.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using namespace sparse::sparsity;

/// The one page length that all policies with a wish agree on.
static std::optional<Refusal> agreeOnPage(LayerFacts &facts, ArrayRef<PolicyAttrInterface> policies) {
  std::optional<size_t> chosenBy;
  for (auto [index, policy] : llvm::enumerate(policies)) {
    int64_t page = policy.getPageConstraint();
    if (page == 0)
      continue;
    if (chosenBy && page != facts.page)
      return Refusal{("the first needs pages of " + Twine(facts.page) + " slots, the second of " + Twine(page) +
                      "; legal: the same page for both")
                         .str(),
                     {*chosenBy, index}};
    chosenBy = index;
    facts.page = page;
  }
  return std::nullopt;
}

static StringRef timeOf(kvcache::PrefillCap cap) {
  switch (cap) {
  case kvcache::PrefillCap::None: return "never";
  case kvcache::PrefillCap::End: return "after the prompt";
  case kvcache::PrefillCap::Chunk: return "after each chunk of the prompt";
  }
  llvm_unreachable("unknown time of compaction");
}

kvcache::PrefillCap sparse::policy::compactionTime(ArrayRef<PolicyAttrInterface> policies) {
  auto time = kvcache::PrefillCap::None;
  for (PolicyAttrInterface policy : policies)
    if (auto kv = dyn_cast<KVPolicyInterface>(Attribute(policy)); kv && time != kvcache::PrefillCap::End)
      time = kv.getPrefillCap();
  return time;
}

/// A layer is compacted after each chunk of a prompt, or after the prompt: every policy has to live with that.
static std::optional<Refusal> agreeOnTime(ArrayRef<PolicyAttrInterface> policies) {
  kvcache::PrefillCap time = compactionTime(policies);
  auto timeAt = [&](size_t index) {
    return cast<KVPolicyInterface>(Attribute(policies[index])).getPrefillCap();
  };
  std::optional<size_t> inTime, early;
  for (auto [index, policy] : llvm::enumerate(policies)) {
    auto kv = dyn_cast<KVPolicyInterface>(Attribute(policy));
    if (!kv)
      continue;
    if (kv.getPrefillCap() == time && !inTime)
      inTime = index;
    if (kv.getPrefillCap() != time && !kv.mayCompactLater() && !early)
      early = index;
  }
  if (!early)
    return std::nullopt;
  size_t first = std::min(*inTime, *early), second = std::max(*inTime, *early);
  return Refusal{("the first compacts the cache " + timeOf(timeAt(first)) + ", the second " + timeOf(timeAt(second)) +
                  "; legal: methods that compact at the same time")
                     .str(),
                 {first, second}};
}

/// What is merged must be evicted: every head that a merging policy names needs one that evicts from it, and one that
/// names none needs any.
static std::optional<Refusal> checkMerging(const LayerFacts &facts, ArrayRef<PolicyAttrInterface> policies) {
  auto evicts = [&](int64_t head) {
    return llvm::any_of(policies, [&](PolicyAttrInterface policy) {
      ArrayRef<int64_t> heads = policy.getHeads();
      return isa<KVPolicyInterface>(Attribute(policy)) && (heads.empty() || llvm::is_contained(heads, head));
    });
  };
  StringRef legal = "; legal: beside a method that evicts";
  for (auto [index, policy] : llvm::enumerate(policies)) {
    if (!isa<MergePolicyInterface>(Attribute(policy)))
      continue;
    for (int64_t head : policy.getHeads())
      if (!evicts(head))
        return Refusal{
            ("nothing evicts from KV head " + Twine(head) + ", so there is nothing to merge" + legal).str(), {index}};
    if (llvm::none_of(llvm::seq<int64_t>(facts.kvHeads), evicts))
      return Refusal{("nothing evicts here, so there is nothing to merge" + legal).str(), {index}};
  }
  return std::nullopt;
}

std::optional<Refusal> sparse::policy::findRefusal(LayerFacts &facts, ArrayRef<PolicyAttrInterface> policies) {
  if (std::optional<Refusal> refusal = agreeOnPage(facts, policies))
    return refusal;
  for (size_t i = 0; i < policies.size(); ++i) {
    PolicyAttrInterface policy = policies[i];
    if (std::string reason = policy.whyNot(facts); !reason.empty())
      return Refusal{reason, {i}};
    for (size_t j = i + 1; j < policies.size(); ++j) {
      PolicyAttrInterface other = policies[j];
      std::string reason = policy.whyNotWith(other);
      if (reason.empty())
        reason = other.whyNotWith(policy);
      if (!reason.empty())
        return Refusal{reason, {i, j}};
    }
  }
  if (std::optional<Refusal> refusal = checkMerging(facts, policies))
    return refusal;
  return agreeOnTime(policies);
}

LogicalResult sparse::policy::checkLegality(Operation *op, LayerFacts &facts, ArrayRef<AskedPolicy> asked) {
  auto attributes = llvm::map_to_vector(asked, [](const AskedPolicy &policy) { return policy.attr; });
  std::optional<Refusal> refusal = findRefusal(facts, attributes);
  if (!refusal)
    return success();
  InFlightDiagnostic diag = op->emitError();
  auto nameOf = [&](size_t culprit) {
    PolicyAttrInterface policy = asked[culprit].attr;
    return policy.getPolicySpec().name;
  };
  llvm::interleave(
      refusal->culprits, [&](size_t culprit) { diag << "'" << nameOf(culprit) << "'"; }, [&] { diag << " and "; });
  diag << " can't govern layer " << facts.layer << (refusal->culprits.size() > 1 ? " together" : "") << ": "
       << refusal->reason;
  for (size_t culprit : refusal->culprits)
    if (std::optional<Location> loc = asked[culprit].loc)
      diag.attachNote(*loc) << "'" << nameOf(culprit) << "' is asked for here";
  return failure();
}
