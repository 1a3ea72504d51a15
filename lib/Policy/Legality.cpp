//===-- Legality.cpp - May these policies govern this layer? ------------------------------------------------------===//
#include "lib/Policy/Legality.h"

#include "llvm/ADT/Sequence.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using namespace sparse::sparsity;

static void noteWhere(InFlightDiagnostic &diag, ArrayRef<AskedPolicy> policies) {
  for (const AskedPolicy &policy : policies)
    if (policy.loc)
      diag.attachNote(*policy.loc) << "'" << policy.attr.getPolicySpec().name << "' is asked for here";
}

static LogicalResult refuse(Operation *op, int64_t layer, const AskedPolicy &policy, StringRef reason) {
  InFlightDiagnostic diag = op->emitError() << "'" << policy.attr.getPolicySpec().name << "' can't govern layer "
                                            << layer << ": " << reason;
  noteWhere(diag, policy);
  return failure();
}

static LogicalResult refuse(Operation *op, int64_t layer, const AskedPolicy &one, const AskedPolicy &two,
                            const Twine &reason) {
  InFlightDiagnostic diag = op->emitError() << "'" << one.attr.getPolicySpec().name << "' and '"
                                            << two.attr.getPolicySpec().name << "' can't govern layer " << layer
                                            << " together: " << reason;
  noteWhere(diag, {one, two});
  return failure();
}

/// The one page length that all policies with a wish agree on.
static LogicalResult agreeOnPage(Operation *op, LayerFacts &facts, ArrayRef<AskedPolicy> policies) {
  const AskedPolicy *chosenBy = nullptr;
  for (const AskedPolicy &policy : policies) {
    int64_t page = policy.attr.getPageConstraint();
    if (page == 0)
      continue;
    if (chosenBy && page != facts.page)
      return refuse(op, facts.layer, *chosenBy, policy,
                    "the first needs pages of " + Twine(facts.page) + " slots, the second of " + Twine(page) +
                        "; legal: the same page for both");
    chosenBy = &policy;
    facts.page = page;
  }
  return success();
}

static StringRef timeOf(kvcache::PrefillCap cap) {
  switch (cap) {
  case kvcache::PrefillCap::None: return "never";
  case kvcache::PrefillCap::End: return "after the prompt";
  case kvcache::PrefillCap::Chunk: return "after each chunk of the prompt";
  }
  llvm_unreachable("unknown time of compaction");
}

/// A layer is compacted after each chunk of a prompt, or after the prompt, or never.
static LogicalResult agreeOnPrefillCap(Operation *op, const LayerFacts &facts, ArrayRef<AskedPolicy> policies) {
  const AskedPolicy *first = nullptr;
  kvcache::PrefillCap cap = kvcache::PrefillCap::None;
  for (const AskedPolicy &policy : policies) {
    auto kv = dyn_cast<KVPolicyInterface>(Attribute(policy.attr));
    if (!kv)
      continue;
    if (first && kv.getPrefillCap() != cap)
      return refuse(op, facts.layer, *first, policy,
                    "the first compacts the cache " + timeOf(cap) + ", the second " + timeOf(kv.getPrefillCap()) +
                        "; legal: methods that compact at the same time");
    first = &policy;
    cap = kv.getPrefillCap();
  }
  return success();
}

/// What is merged must be evicted: every head that a merging policy names needs one that evicts from it, and one that
/// names none needs any.
static LogicalResult checkMerging(Operation *op, const LayerFacts &facts, ArrayRef<AskedPolicy> policies) {
  auto evicts = [&](int64_t head) {
    return llvm::any_of(policies, [&](const AskedPolicy &policy) {
      ArrayRef<int64_t> heads = policy.attr.getHeads();
      return isa<KVPolicyInterface>(Attribute(policy.attr)) && (heads.empty() || llvm::is_contained(heads, head));
    });
  };
  StringRef legal = "; legal: beside a method that evicts";
  for (const AskedPolicy &policy : policies) {
    if (!isa<MergePolicyInterface>(Attribute(policy.attr)))
      continue;
    for (int64_t head : policy.attr.getHeads())
      if (!evicts(head))
        return refuse(op, facts.layer, policy,
                      ("nothing evicts from KV head " + Twine(head) + ", so there is nothing to merge" + legal).str());
    if (llvm::none_of(llvm::seq<int64_t>(facts.kvHeads), evicts))
      return refuse(op, facts.layer, policy, ("nothing evicts here, so there is nothing to merge" + legal).str());
  }
  return success();
}

LogicalResult sparse::policy::checkLegality(Operation *op, LayerFacts &facts, ArrayRef<AskedPolicy> policies) {
  if (failed(agreeOnPage(op, facts, policies)))
    return failure();
  for (size_t i = 0; i < policies.size(); ++i) {
    PolicyAttrInterface policy = policies[i].attr;
    if (std::string reason = policy.whyNot(facts); !reason.empty())
      return refuse(op, facts.layer, policies[i], reason);
    for (size_t j = i + 1; j < policies.size(); ++j) {
      PolicyAttrInterface other = policies[j].attr;
      std::string reason = policy.whyNotWith(other);
      if (reason.empty())
        reason = other.whyNotWith(policy);
      if (!reason.empty())
        return refuse(op, facts.layer, policies[i], policies[j], reason);
    }
  }
  if (failed(checkMerging(op, facts, policies)))
    return failure();
  return agreeOnPrefillCap(op, facts, policies);
}
