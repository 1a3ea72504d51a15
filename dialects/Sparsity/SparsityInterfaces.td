// What a method is to the compiler: interfaces that return IR.
#ifndef SPARSE_DIALECTS_SPARSITY_SPARSITYINTERFACES_TD
#define SPARSE_DIALECTS_SPARSITY_SPARSITYINTERFACES_TD

include "mlir/IR/OpBase.td"

def Sparsity_PolicyInterface : AttrInterface<"PolicyAttrInterface"> {
  let cppNamespace = "::sparse::sparsity";
  let description = [{What every policy can say of itself.}];
  let methods = [
    InterfaceMethod<"The method's specification.", "const ::sparse::sparsity::PolicySpec &", "getPolicySpec", (ins), "",
      [{ return ConcreteAttr::getSpec(); }]>,
    InterfaceMethod<"The parameters, complete.", "::mlir::DictionaryAttr", "getPolicyParams", (ins), "",
      [{ return $_attr.getParams(); }]>,
    InterfaceMethod<"Why the policy can't govern this layer; empty when it can.", "std::string", "whyNot",
      (ins "const ::sparse::sparsity::LayerFacts &":$facts), "", [{ return ""; }]>,
    InterfaceMethod<"Why the policy can't stand beside `other` on one layer; empty when it can.", "std::string",
      "whyNotWith", (ins "::mlir::Attribute":$other), "", [{ return ""; }]>,
    InterfaceMethod<"The page length it asks for, or 0.", "int64_t", "getPageConstraint", (ins), "", [{ return 0; }]>,
    InterfaceMethod<[{The fields it keeps in the cache of a layer (`#kvcache.field`).}],
      "void", "getFields",
      (ins "const ::sparse::sparsity::LayerFacts &":$facts, "::llvm::SmallVectorImpl<::mlir::Attribute> &":$fields),
      "", [{ return; }]>,
    InterfaceMethod<"KV heads it governs; empty for all.", "::llvm::ArrayRef<int64_t>", "getHeads", (ins), "",
      [{ return {}; }]>,
    InterfaceMethod<"The type of the codes that pages are to hold (`#kvcache.layout`); null where it has no wish.",
      "::mlir::Type", "getStorageType", (ins), "", [{ return {}; }]>,
    InterfaceMethod<"Whether it needs the attention mass of each slot.", "bool", "needsMass", (ins), "",
      [{ return false; }]>,
    InterfaceMethod<[{
        Slot-scope f32 fields that it reads of a slot, in order. Policies that name the same field share it: it is updated
        once.
      }],
      "::llvm::SmallVector<::llvm::StringRef>", "getSlotFields", (ins), "", [{ return {}; }]>,
    InterfaceMethod<[{New value of slot field `index` after a step that gave the slot `mass` (f32).}],
      "::mlir::Value", "buildStatistic",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "unsigned":$index, "::mlir::Value":$old,
           "::mlir::Value":$mass), "", [{ return old; }]>,
    InterfaceMethod<[{
        New value of one element of page-scope content field `field` when a key joins the page: `old` is the element,
        `key` the key's channel of the same index; f32, whatever the field's type.
      }],
      "::mlir::Value", "buildFieldUpdate",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::llvm::StringRef":$field, "::mlir::Value":$old,
           "::mlir::Value":$key), "", [{ return old; }]>,
  ];
}

def Sparsity_SelectionPolicyInterface : AttrInterface<"SelectionPolicyInterface", [Sparsity_PolicyInterface]> {
  let cppNamespace = "::sparse::sparsity";
  let description = [{
    Which keys a decode query reads. The template scores every page, keeps the best, and attends to their slots; the page
    of the current token is always kept.
  }];
  let methods = [
    InterfaceMethod<"Pages that one query may read, the current one included.", "int64_t", "getPageBudget", (ins)>,
    InterfaceMethod<[{
        Pages (i32) that a query may read of a KV head that holds `live` tokens (i32): no fewer than the sink pages and the
        current one, no more than `getPageBudget`; null for always that many.
      }],
      "::mlir::Value", "buildPageBudget",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$live), "", [{ return {}; }]>,
    InterfaceMethod<"First pages that are always kept.", "int64_t", "getSinkPages", (ins), "", [{ return 0; }]>,
    InterfaceMethod<"One selection per query head instead of per KV head.", "bool", "isPerQueryHead", (ins)>,
    InterfaceMethod<"How the scores of a group's query heads combine: true for the sum, false for the maximum.", "bool",
      "isGroupSum", (ins)>,
    InterfaceMethod<"Page-scope fields that the score reads, in the order `buildScoreTerm` takes them.",
      "::llvm::SmallVector<::llvm::StringRef>", "getScoreFields", (ins)>,
    InterfaceMethod<[{
        One channel's term of a page's score, f32; the template adds the terms of all channels. Operands are scalars or
        vectors of f32: the query's channel and the fields' elements of the same index.
      }],
      "::mlir::Value", "buildScoreTerm",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$query,
           "::mlir::ValueRange":$fields)>,
    InterfaceMethod<[{
        For a term that is the sum over the score fields of a part of the query times the field: which part for each
        field, so that matrix products can score. Empty for any other term.
      }],
      "::llvm::SmallVector<::sparse::sparsity::QueryPart>", "getScoreParts", (ins), "", [{ return {}; }]>,
  ];
}

def Sparsity_KVPolicyInterface : AttrInterface<"KVPolicyInterface", [Sparsity_PolicyInterface]> {
  let cppNamespace = "::sparse::sparsity";
  let description = [{Which keys stay in the cache.}];
  let methods = [
    InterfaceMethod<"The most slots that a head keeps between steps.", "int64_t", "getCap", (ins)>,
    InterfaceMethod<"How the cap follows the length of a sequence.", "::sparse::sparsity::BudgetGrowth", "getGrowth",
      (ins), "", [{ return {}; }]>,
    InterfaceMethod<"When the layer is compacted while a prompt is read.", "::sparse::kvcache::PrefillCap",
      "getPrefillCap", (ins)>,
    InterfaceMethod<[{
        Whether the layer may be compacted at the end of a prompt instead, for another policy's sake: no query sees what left.
      }],
      "bool", "mayCompactLater", (ins), "", [{ return false; }]>,
    InterfaceMethod<[{Whether a query at `queryPos` may see a key at `keyPos` (i32, keyPos <= queryPos) as an i1; null for
        always.}],
      "::mlir::Value", "buildVisible",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$queryPos, "::mlir::Value":$keyPos),
      "", [{ return {}; }]>,
    InterfaceMethod<[{
        The eviction key of a live slot, f32: the least is evicted first, ties the older. +inf protects the slot.
        `keyPos` is its position, `newestPos` the newest in the cache (i32), `fields` the slot fields; `cap` is the
        head's present cap (i32) where prompts set caps (`caps_of_prompt` of the layout), null elsewhere.
      }],
      "::mlir::Value", "buildKey",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$keyPos, "::mlir::Value":$newestPos,
           "::mlir::ValueRange":$fields, "::mlir::Value":$cap)>,
  ];
}

def Sparsity_SharedBudgetPolicyInterface : AttrInterface<"SharedBudgetPolicyInterface", [Sparsity_PolicyInterface]> {
  let cppNamespace = "::sparse::sparsity";
  let description = [{
    A KV policy whose layers share what they may keep: at the end of the first prompt of a sequence every layer that it
    governs gets a budget, which is the cap of its heads from then on.

    The template takes a slot field of every layer, and of it the variance over the tokens of the prompt, in each
    governed head; these are scaled to [0, 1] over the heads of the layer, and their mean is its spread. With L layers,
    layer l gets the share

        share_l = L * softmax over the layers of buildShareLogit(spread)_l

    so that the mean of the shares is 1, and layers of equal spread share equally.
  }];
  let methods = [
    InterfaceMethod<"Whether the policy has this form; without it layers have the budgets that its parameters say.",
      "bool", "sharesBudget", (ins)>,
    InterfaceMethod<"The slot field (f32) whose variance says how evenly attention falls on the tokens of a prompt.",
      "::llvm::StringRef", "getSpreadField", (ins)>,
    InterfaceMethod<"The logit (f32) of a layer's share, from its spread (f32, within [0, 1]).", "::mlir::Value",
      "buildShareLogit", (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$spread)>,
    InterfaceMethod<[{
        Slots (i32) that a head of a layer with this share (f32) keeps from a prompt of `length` tokens (i32) on: at
        least 1, and no more than `getCap`.
      }],
      "::mlir::Value", "buildBudget",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$share, "::mlir::Value":$length)>,
  ];
}

def Sparsity_MergePolicyInterface : AttrInterface<"MergePolicyInterface", [Sparsity_PolicyInterface]> {
  let cppNamespace = "::sparse::sparsity";
  let description = [{
    What becomes of slots that a KV policy evicts: they go into slots that stay. The template finds the targets of an evicted
    slot e, asks for its share, and from that for a weight w_e and a part d_e of the divisor, the same for all its targets.
    Every target t then changes, in f32 and from what all slots were before:

        x_t <- (x_t + sum over e of w_e x_e) / (1 + sum over e of d_e)

    A decode step evicts one slot of a head, a compaction all that are over the cap at once: then the targets are slots
    that the compaction keeps.
  }];
  let methods = [
    InterfaceMethod<"Which slots an evicted one goes into.", "::sparse::sparsity::MergeTargets", "getTargets", (ins)>,
    InterfaceMethod<"The most targets of one slot; one for `Nearest`.", "int64_t", "getTargetCount", (ins), "",
      [{ return 1; }]>,
    InterfaceMethod<"Whether keys merge too, not values alone.", "bool", "mergesKeys", (ins), "", [{ return false; }]>,
    InterfaceMethod<[{
        Whether `buildShare` takes a random number: it depends on the seed, the layer of the source model, the KV head and
        the position of the evicted token alone.
      }],
      "bool", "isRandom", (ins), "", [{ return false; }]>,
    InterfaceMethod<"The seed of the random numbers.", "int64_t", "getSeed", (ins), "", [{ return 0; }]>,
    InterfaceMethod<[{
        The share (f32) of an evicted slot. `own` are its slot fields and `means` their means over its targets
        (`Following`); `similarity` is the cosine of its key and its target's (`Nearest`); `uniform` is in [0, 1), null
        unless `isRandom`.
      }],
      "::mlir::Value", "buildShare",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::ValueRange":$own,
           "::mlir::ValueRange":$means, "::mlir::Value":$similarity, "::mlir::Value":$uniform)>,
    InterfaceMethod<[{
        An f32 field per head that follows the shares of what is evicted; empty for none. All heads that the policy governs
        hold one value.
      }],
      "::llvm::StringRef", "getThresholdField", (ins), "", [{ return ""; }]>,
    InterfaceMethod<[{
        The threshold after a step that evicted slots with shares of mean `mean`, over all heads; it holds for this step's
        merges already.
      }],
      "::mlir::Value", "buildThreshold",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$old, "::mlir::Value":$mean), "",
      [{ return mean; }]>,
    InterfaceMethod<[{
        What a share means for each of the slot's `count` targets (f32). `threshold` is null without a field for it.
      }],
      "::sparse::sparsity::MergeWeights", "buildWeights",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$share, "::mlir::Value":$threshold,
           "::mlir::Value":$count)>,
    InterfaceMethod<"A counter (i32 per head) of the slots that were merged; empty for none.", "::llvm::StringRef",
      "getCounterField", (ins), "", [{ return ""; }]>,
  ];
}

#endif
