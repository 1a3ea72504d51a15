//===-- LayerPolicy.cpp - The policies of each layer --------------------------------------------------------------===//
#include "lib/Policy/LayerPolicy.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using namespace sparse::sparsity;

SmallVector<AskedPolicy> LayerPolicy::all() const {
  SmallVector<AskedPolicy> policies(attention.begin(), attention.end());
  llvm::append_range(policies, kv);
  return policies;
}

bool LayerPolicy::operator==(const LayerPolicy &other) const {
  auto equal = [](const AskedPolicy &a, const AskedPolicy &b) { return a.attr == b.attr; };
  return llvm::equal(attention, other.attention, equal) && llvm::equal(kv, other.kv, equal);
}

/// What the pages of a layer hold once all rules are applied to it; `before` is what governs it now.
static Type storageOf(ArrayRef<Rule> rules, const LayerFacts &facts, int64_t layers, const LayerPolicy &before) {
  auto wishOf = [&](PolicyAttrInterface policy) { return policy.getStorageType(); };
  for (const Rule &rule : llvm::reverse(rules)) {
    std::string ignored;
    auto indices = rule.layers.resolve(layers, "layer", ignored);
    const auto *choice = llvm::find_if(rule.choices, [](const Choice &c) { return c.kind == PolicyKind::KV; });
    if (!indices || !llvm::is_contained(*indices, facts.layer) || choice == rule.choices.end())
      continue;
    for (const Method &method : choice->methods) {
      DictionaryAttr params = method.entry->spec->complete(method.params, [&] { return emitError(method.loc); });
      if (Type wish = params ? wishOf(cast<PolicyAttrInterface>(method.entry->build(params))) : Type())
        return wish;
    }
    return facts.type;
  }
  for (const AskedPolicy &policy : before.kv)
    if (Type wish = wishOf(policy.attr))
      return wish;
  return facts.type;
}

/// Adds the tokens that the method's budgets are in this layer, whose pages hold elements of `stored`.
static LogicalResult resolveBudgets(const Method &method, const LayerFacts &facts, size_t heads, Type stored,
                                    NamedAttrList &params) {
  Builder b(method.params.getContext());
  for (const GivenBudget &given : method.budgets) {
    IntegerAttr tokens = b.getI64IntegerAttr(given.budget.tokensOf(facts, static_cast<int64_t>(heads), stored));
    std::string legal = given.parameter->whyNot(tokens);
    if (!legal.empty())
      return emitError(given.loc) << "'" << given.parameter->name << "' of '" << method.entry->spec->name << "' is '"
                                  << given.text << "', which is " << tokens.getInt() << " tokens in layer "
                                  << facts.layer << "; legal: " << legal;
    params.set(given.parameter->name, tokens);
  }
  return success();
}

/// The attribute of `method` for one layer; null after a diagnostic.
static PolicyAttrInterface build(const Method &method, const LayerFacts &facts, Type stored) {
  MLIRContext *context = method.params.getContext();
  NamedAttrList params(method.params);
  auto governed = static_cast<size_t>(facts.kvHeads);
  if (method.heads) {
    std::string reason;
    std::optional<SmallVector<int64_t>> heads = method.heads->resolve(facts.kvHeads, "KV head", reason);
    if (!heads) {
      emitError(method.heads->getLoc()) << "in layer " << facts.layer << " " << reason;
      return {};
    }
    if (!heads->empty())
      governed = heads->size();
    // No heads are all heads: two spellings of one policy become one attribute.
    if (heads->size() == static_cast<size_t>(facts.kvHeads))
      heads->clear();
    params.set(method.entry->spec->findHeads()->name, DenseI64ArrayAttr::get(context, *heads));
  }
  if (failed(resolveBudgets(method, facts, governed, stored, params)))
    return {};
  DictionaryAttr complete = method.entry->spec->complete(params.getDictionary(context),
                                                         [&] { return emitError(method.loc); });
  if (!complete)
    return {};
  return cast<PolicyAttrInterface>(method.entry->build(complete));
}

LogicalResult sparse::policy::applyRules(ArrayRef<Rule> rules, ArrayRef<LayerFacts> facts,
                                         MutableArrayRef<LayerPolicy> layers) {
  bool failed = false;
  for (const Rule &rule : rules) {
    std::string reason;
    auto indices = rule.layers.resolve(static_cast<int64_t>(facts.size()), "layer", reason);
    if (!indices) {
      emitError(rule.layers.getLoc()) << reason;
      failed = true;
      continue;
    }
    for (const Choice &choice : rule.choices) {
      // The first layer in which a choice fails speaks for the others.
      for (int64_t layer : *indices) {
        SmallVector<AskedPolicy, 2> policies;
        Type stored = storageOf(rules, facts[layer], static_cast<int64_t>(facts.size()), layers[layer]);
        for (const Method &method : choice.methods)
          if (PolicyAttrInterface attr = build(method, facts[layer], stored))
            policies.push_back({attr, method.loc});
        if (policies.size() != choice.methods.size()) {
          failed = true;
          break;
        }
        layers[layer].of(choice.kind) = std::move(policies);
      }
    }
  }
  return failure(failed);
}
