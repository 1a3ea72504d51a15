//===-- LegalityMatrix.cpp - Which methods may govern a layer together --------------------------------------------===//
#include "lib/Policy/LegalityMatrix.h"
#include "lib/Policy/Legality.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using namespace sparse::sparsity;

/// A layer that every method's defaults fit.
static LayerFacts someLayer(MLIRContext *context) {
  LayerFacts facts;
  facts.heads = 4;
  facts.kvHeads = 2;
  facts.keyDim = facts.valueDim = 64;
  facts.maxContext = 8192;
  facts.prefillChunk = 128;
  facts.page = 16;
  facts.type = Float32Type::get(context);
  return facts;
}

/// What a compilation of a one-layer model says to this rule.
static Verdict judge(MLIRContext *context, const std::string &rule) {
  std::string said;
  ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
    if (said.empty())
      said = diagnostic.str();
    return success();
  });
  std::optional<Rules> rules = parsePolicy("{version: 1, rules: [{" + rule + "}]}", "matrix", context);
  LayerFacts facts = someLayer(context);
  LayerPolicy layer;
  if (!rules || failed(applyRules(*rules, facts, layer)))
    return {false, said};
  auto policies = llvm::map_to_vector(layer.all(), [](const AskedPolicy &policy) { return policy.attr; });
  std::optional<Refusal> refusal = findRefusal(facts, policies);
  return refusal ? Verdict{false, refusal->reason} : Verdict{true, ""};
}

/// `{h2o: {heads: 0}}`; all heads where none is given.
static std::string methodText(const PolicySpec &spec, std::optional<int> head) {
  std::string heads = head ? (spec.findHeads()->name + ": " + Twine(*head)).str() : "";
  return ("{" + spec.name + ": {" + heads + "}}").str();
}

static std::string ruleText(const PolicySpec &first, std::optional<int> firstHead, const PolicySpec &second,
                            std::optional<int> secondHead) {
  std::string one = methodText(first, firstHead), two = methodText(second, secondHead);
  if (first.kind == second.kind)
    return (keyOf(first.kind) + ": [" + one + ", " + two + "]").str();
  return (keyOf(first.kind) + ": " + one + ", " + keyOf(second.kind) + ": " + two).str();
}

SmallVector<const PolicySpec *> sparse::policy::sortedMethods(MLIRContext *context) {
  SmallVector<const PolicySpec *> methods;
  for (const PolicyEntry &entry : PolicyRegistry::get(context).all())
    methods.push_back(entry.spec);
  llvm::sort(methods, [](const PolicySpec *a, const PolicySpec *b) {
    return std::make_pair(a->kind, a->name) < std::make_pair(b->kind, b->name);
  });
  return methods;
}

LegalityMatrix sparse::policy::legalityMatrix(MLIRContext *context) {
  LegalityMatrix matrix;
  matrix.methods = sortedMethods(context);
  for (const PolicySpec *method : matrix.methods)
    matrix.alone.push_back(judge(context, (keyOf(method->kind) + ": " + methodText(*method, std::nullopt)).str()));
  for (const PolicySpec *first : matrix.methods)
    for (const PolicySpec *second : matrix.methods) {
      MethodPair pair{first, second, judge(context, ruleText(*first, {}, *second, {})), std::nullopt};
      if (first->findHeads() && second->findHeads())
        pair.apart = judge(context, ruleText(*first, 0, *second, 1));
      matrix.pairs.push_back(std::move(pair));
    }
  return matrix;
}

namespace {
/// Reasons under numbers, in the order of their first use.
class Notes {
public:
  std::string mark(const std::string &reason) {
    auto *known = llvm::find(reasons, reason);
    size_t number = known - reasons.begin() + 1;
    if (known == reasons.end())
      reasons.push_back(reason);
    return " [" + std::to_string(number) + "]";
  }
  void print(raw_ostream &os) const {
    for (auto [index, reason] : llvm::enumerate(reasons))
      os << index + 1 << ". " << reason << '\n';
  }

private:
  SmallVector<std::string> reasons;
};
} // namespace

static std::string cellOf(const Verdict &alone, Notes &notes) {
  return alone.legal ? "ok" : "no" + notes.mark(alone.reason);
}

static std::string cellOf(const MethodPair &pair, Notes &notes) {
  if (pair.together.legal)
    return "ok";
  std::string why = notes.mark(pair.together.reason);
  if (!pair.apart)
    return "no" + why;
  if (pair.apart->legal)
    return "own heads" + why;
  return "no" + why + (pair.apart->reason == pair.together.reason ? "" : notes.mark(pair.apart->reason));
}

void sparse::policy::printMatrix(const LegalityMatrix &matrix, raw_ostream &os) {
  Notes notes;
  os << "| | alone |";
  for (const PolicySpec *method : matrix.methods)
    os << " `" << method->name << "` |";
  os << "\n|---|---|";
  for (size_t i = 0; i < matrix.methods.size(); ++i)
    os << "---|";
  const MethodPair *pair = matrix.pairs.begin();
  for (auto [method, alone] : llvm::zip(matrix.methods, matrix.alone)) {
    os << "\n| `" << method->name << "` | " << cellOf(alone, notes) << " |";
    for (size_t i = 0; i < matrix.methods.size(); ++i)
      os << ' ' << cellOf(*pair++, notes) << " |";
  }
  os << "\n\n";
  notes.print(os);
}

void sparse::policy::printMatrixJson(const LegalityMatrix &matrix, raw_ostream &os) {
  llvm::json::OStream json(os, /*IndentSize=*/2);
  auto attribute = [&](StringRef name, const Verdict &verdict) {
    json.attributeObject(name, [&] {
      json.attribute("legal", verdict.legal);
      if (!verdict.legal)
        json.attribute("reason", verdict.reason);
    });
  };
  json.object([&] {
    json.attributeArray("methods", [&] {
      for (auto [method, alone] : llvm::zip(matrix.methods, matrix.alone))
        json.object([&, method = method, &alone = alone] {
          json.attribute("name", method->name);
          json.attribute("key", keyOf(method->kind));
          json.attribute("heads", method->findHeads() != nullptr);
          attribute("alone", alone);
        });
    });
    json.attributeArray("pairs", [&] {
      for (const MethodPair &pair : matrix.pairs)
        json.object([&] {
          json.attribute("first", pair.first->name);
          json.attribute("second", pair.second->name);
          attribute("together", pair.together);
          if (pair.apart)
            attribute("apart", *pair.apart);
        });
    });
  });
  os << '\n';
}
