//===-- LayerPolicy.cpp - The policies of each layer --------------------------------------------------------------===//
#include "lib/Policy/LayerPolicy.h"

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

/// The attribute of `method` for one layer; null after a diagnostic.
static PolicyAttrInterface build(const Method &method, const LayerFacts &facts) {
  MLIRContext *context = method.params.getContext();
  NamedAttrList params(method.params);
  if (method.heads) {
    std::string reason;
    std::optional<SmallVector<int64_t>> heads = method.heads->resolve(facts.kvHeads, "KV head", reason);
    if (!heads) {
      emitError(method.heads->getLoc()) << "in layer " << facts.layer << " " << reason;
      return {};
    }
    // No heads are all heads: two spellings of one policy become one attribute.
    if (heads->size() == static_cast<size_t>(facts.kvHeads))
      heads->clear();
    params.set(method.entry->spec->findHeads()->name, DenseI64ArrayAttr::get(context, *heads));
  }
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
        for (const Method &method : choice.methods)
          if (PolicyAttrInterface attr = build(method, facts[layer]))
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
