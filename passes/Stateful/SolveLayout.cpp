//===-- SolveLayout.cpp - The cache layout of one layer -----------------------------------------------------------===//
#include "passes/Stateful/SolveLayout.h"
#include "lib/Policy/Legality.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::sparsity;

/// Whether a GPU scores faster from fields that lie by channel: a query head that selects for itself needs of each channel
/// only the field that the query's sign picks, half of the bytes. Its warp loads 8 pages of 16 bits at once.
static bool readsByChannel(SelectionPolicyInterface selection, const LayerFacts &facts, int64_t maxPages) {
  bool alone = facts.heads == facts.kvHeads || selection.isPerQueryHead();
  SmallVector<QueryPart> parts = selection.getScoreParts();
  return alone && maxPages % 8 == 0 && parts.size() == 2 && parts[0] != QueryPart::Whole &&
         parts[1] != QueryPart::Whole && parts[0] != parts[1];
}

/// The list of slots that will probably be evicted next, for a GPU whose attention finds what they would merge into: a tensor
/// core multiplies keys by eight rows, of which query heads leave some free. Null where nobody reads it.
static Attribute likelyField(MLIRContext *context, const LayerFacts &facts, ArrayRef<PolicyAttrInterface> policies) {
  constexpr int64_t kRows = 8, kMost = 4;
  int64_t free = kRows - facts.heads / facts.kvHeads;
  auto mergesNearest = [](PolicyAttrInterface policy) {
    auto merge = dyn_cast<MergePolicyInterface>(Attribute(policy));
    return merge && merge.getTargets() == MergeTargets::Nearest;
  };
  if (free <= 0 || facts.type.isF32() || llvm::none_of(policies, mergesNearest))
    return {};
  Builder b(context);
  return kvcache::FieldAttr::get(context, b.getStringAttr(kvcache::kLikelyField), kvcache::Scope::Head, b.getI32Type(),
                                 b.getDenseI64ArrayAttr({std::min(free, kMost)}), b.getI32IntegerAttr(-1),
                                 /*content=*/false, /*counter=*/false);
}

kvcache::LayoutAttr sparse::solveLayout(Operation *op, LayerFacts facts, SelectionPolicyInterface selection,
                                        ArrayAttr kvPolicies) {
  MLIRContext *context = op->getContext();
  Builder b(context);
  SmallVector<PolicyAttrInterface> policies;
  if (selection)
    policies.push_back(cast<PolicyAttrInterface>(Attribute(selection)));
  if (kvPolicies)
    for (Attribute policy : kvPolicies)
      policies.push_back(cast<PolicyAttrInterface>(policy));

  // The mark phase has checked what it wrote; attributes can be written by hand, too.
  SmallVector<policy::AskedPolicy> asked;
  for (PolicyAttrInterface policy : policies)
    asked.push_back({policy, std::nullopt});
  if (failed(policy::checkLegality(op, facts, asked)))
    return {};

  SmallVector<Attribute> fields, attributes;
  Type storage;
  SmallVector<int64_t> caps(facts.kvHeads, -1), over(facts.kvHeads, 0), least(facts.kvHeads, 0);
  kvcache::PrefillCap prefillCap = policy::compactionTime(policies);
  bool capsOfPrompt = false;
  for (PolicyAttrInterface policy : policies) {
    attributes.push_back(policy);
    if (Type wished = policy.getStorageType())
      storage = wished;
    SmallVector<Attribute> own;
    policy.getFields(facts, own);
    for (Attribute field : own)
      if (!llvm::is_contained(fields, field))
        fields.push_back(field);
    auto kv = dyn_cast<KVPolicyInterface>(Attribute(policy));
    if (!kv)
      continue;
    auto shared = dyn_cast<SharedBudgetPolicyInterface>(Attribute(policy));
    bool ofPrompt = shared && shared.sharesBudget();
    capsOfPrompt |= ofPrompt;
    for (int64_t head = 0; head < facts.kvHeads; ++head)
      if (kv.getHeads().empty() || llvm::is_contained(kv.getHeads(), head)) {
        // The most that a prompt may set, which may be more than there can be.
        caps[head] = ofPrompt ? std::min(kv.getCap(), facts.maxContext) : kv.getCap();
        over[head] = kv.getGrowth().over;
        least[head] = kv.getGrowth().least;
      }
  }

  // A GPU's warp reads whole keys; the CPU's vector registers hold one channel of many keys.
  bool keysBySlot = op->getParentOfType<ModuleOp>()->hasAttr("sparsity.target");
  if (Attribute likely = keysBySlot ? likelyField(context, facts, policies) : Attribute())
    fields.push_back(likely);
  // A head whose cap holds within a prompt needs room for its cap, the slot that the next victim leaves, and one chunk.
  bool bounded = prefillCap == kvcache::PrefillCap::Chunk && !llvm::is_contained(caps, -1);
  int64_t slots = facts.maxContext;
  if (bounded)
    slots = std::min(slots, *llvm::max_element(caps) + 1 + facts.prefillChunk);
  bool slotted = prefillCap != kvcache::PrefillCap::None;
  if (slotted) // an extent may pass the context by the hole of the last victim
    slots += 1;
  auto maxPages = static_cast<int64_t>(llvm::divideCeil(slots, facts.page));
  bool fieldsByChannel = keysBySlot && selection && readsByChannel(selection, facts, maxPages);
  // Constant caps leave no trace.
  bool grows = llvm::any_of(over, [](int64_t length) { return length != 0; });
  auto arrayOf = [&](ArrayRef<int64_t> values) { return grows ? b.getDenseI64ArrayAttr(values) : DenseI64ArrayAttr(); };
  auto build = [&](auto fn) {
    return fn(facts.kvHeads, facts.keyDim, facts.valueDim, facts.page, facts.type, slotted, maxPages,
              b.getDenseI64ArrayAttr(caps), prefillCap, b.getArrayAttr(fields), b.getArrayAttr(attributes), keysBySlot,
              fieldsByChannel, storage, arrayOf(over), arrayOf(least), capsOfPrompt);
  };
  auto emit = [&] { return op->emitError(); };
  if (failed(build([&](auto... args) { return kvcache::LayoutAttr::verify(emit, args...); })))
    return {};
  return build([&](auto... args) { return kvcache::LayoutAttr::get(context, args...); });
}
