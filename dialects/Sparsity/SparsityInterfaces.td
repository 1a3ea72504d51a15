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
    InterfaceMethod<"KV heads it governs; empty for all.", "::llvm::ArrayRef<int64_t>", "getHeads", (ins)>,
    InterfaceMethod<"Slots that a head keeps between steps.", "int64_t", "getCap", (ins)>,
    InterfaceMethod<"When the layer is compacted while a prompt is read.", "::sparse::kvcache::PrefillCap",
      "getPrefillCap", (ins)>,
    InterfaceMethod<"Whether it needs the attention mass of each slot.", "bool", "needsMass", (ins), "",
      [{ return false; }]>,
    InterfaceMethod<[{Whether a query at `queryPos` may see a key at `keyPos` (i32, keyPos <= queryPos) as an i1; null for
        always.}],
      "::mlir::Value", "buildVisible",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$queryPos, "::mlir::Value":$keyPos),
      "", [{ return {}; }]>,
    InterfaceMethod<"Slot-scope fields that `buildKey` and `buildStatistic` read, in order.",
      "::llvm::SmallVector<::llvm::StringRef>", "getSlotFields", (ins), "", [{ return {}; }]>,
    InterfaceMethod<[{New value of slot field `index` after a step that gave the slot `mass` (f32).}],
      "::mlir::Value", "buildStatistic",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "unsigned":$index, "::mlir::Value":$old,
           "::mlir::Value":$mass), "", [{ return old; }]>,
    InterfaceMethod<[{
        The eviction key of a live slot, f32: the least is evicted first, ties the older. +inf protects the slot.
        `keyPos` is its position, `newestPos` the newest in the cache (i32), `fields` the slot fields.
      }],
      "::mlir::Value", "buildKey",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::Value":$keyPos, "::mlir::Value":$newestPos,
           "::mlir::ValueRange":$fields)>,
  ];
}

#endif
