//===-- ModelCard.cpp - Model facts and sites for people and for programs -----------------------------------------===//
#include "lib/Driver/ModelCard.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::driver;

SiteTable sparse::driver::collectSites(func::FuncOp func) {
  SiteTable table;
  for (Operation &op : func.getOps())
    if (auto site = op.getAttrOfType<sparsity::SiteAttr>(sparsity::kSiteAttr))
      ++table[site.getLayer()][site.getPart()];
  return table;
}

static std::string nameOf(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

/// `value` for a run of layers, or one line per run when they differ: `0-3: 16, 4: all`.
static std::string perLayer(const ModelFacts &facts, llvm::function_ref<std::string(const AttentionFacts &)> text) {
  std::string result;
  int64_t count = facts.attentions.size();
  for (int64_t first = 0, last; first < count; first = last) {
    std::string value = text(facts.attentions[first]);
    for (last = first + 1; last < count && text(facts.attentions[last]) == value; ++last)
      ;
    if (first == 0 && last == count)
      return value;
    result += (result.empty() ? "" : ", ") + std::string("layers ") + std::to_string(first) +
              (last - first > 1 ? "-" + std::to_string(last - 1) : "") + ": " + value;
  }
  return result;
}

static std::string number(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%g", value);
  return text;
}

void sparse::driver::printModelCard(const ModelFacts &facts, llvm::raw_ostream &os) {
  auto line = [&](StringRef name, const Twine &value) { os << "  " << llvm::left_justify(name, 14) << value << '\n'; };
  line("layers", Twine(facts.layers));
  line("hidden", Twine(facts.hidden));
  line("vocabulary", Twine(facts.vocab) + (facts.tied ? ", head tied to the embedding" : ""));
  line("ffn", facts.ffn == 0 ? Twine("none recognised")
                             : Twine(facts.ffn) + (facts.gated ? ", gated " : ", ") + facts.activation);
  line("attention", perLayer(facts, [](const AttentionFacts &a) {
         std::string text = llvm::formatv("{0} heads, {1} KV heads, head dim {2}", a.heads, a.kvHeads, a.keyDim).str();
         if (a.valueDim != a.keyDim)
           text += llvm::formatv(" (values {0})", a.valueDim).str();
         return text + ", scale " + number(a.scale) + (a.normalisesHeads ? ", normalised heads" : "");
       }));
  line("window",
       perLayer(facts, [](const AttentionFacts &a) { return a.window < 0 ? "none" : std::to_string(a.window); }));
  line("softcap", perLayer(facts, [](const AttentionFacts &a) { return a.softcap == 0 ? "none" : number(a.softcap); }));
  if (facts.rotary) {
    const RotaryFacts &r = *facts.rotary;
    std::string text = r.interleaved ? "interleaved" : "half-split";
    text += r.theta ? ", theta " + number(*r.theta) : ", scaled frequencies";
    if (r.rotatedDim != facts.attention().keyDim)
      text += llvm::formatv(", {0} of {1} channels", r.rotatedDim, facts.attention().keyDim).str();
    if (r.scale != 1.0)
      text += ", cosines and sines times " + number(r.scale);
    text +=
        llvm::formatv(", {0} positions ({1})", r.positions, r.derived ? "tables computed here" : "tables of the model");
    line("rope", text);
  } else {
    line("rope", "none");
  }
  line("norm", "RMS, epsilon " + number(facts.normEpsilon));
  line("KV cache", perLayer(facts, [](const AttentionFacts &a) {
         return llvm::formatv("[batch, {0}, past, {1}] {2}", a.kvHeads, a.keyDim, nameOf(a.cacheType)).str();
       }));
  line("parameters", Twine(facts.parameters) + ", " + nameOf(facts.weightsType));
}

void sparse::driver::printSites(const SiteTable &sites, llvm::raw_ostream &os) {
  os << "sites\n";
  auto describe = [](const std::map<sparsity::Part, int64_t> &parts) {
    std::string text;
    for (const auto &[part, count] : parts)
      text += (text.empty() ? "" : " ") + sparsity::stringifyPart(part).str() +
              (count > 1 ? "*" + std::to_string(count) : "");
    return text;
  };
  for (auto it = sites.begin(); it != sites.end();) {
    // Layers alike share a line.
    auto end = std::next(it);
    int64_t last = it->first;
    while (it->first >= 0 && end != sites.end() && end->first == last + 1 && end->second == it->second)
      last = (end++)->first;
    std::string name = it->first < 0       ? "model"
                       : last == it->first ? "layer " + std::to_string(last)
                                           : "layers " + std::to_string(it->first) + "-" + std::to_string(last);
    os << "  " << llvm::left_justify(name, 14) << describe(it->second) << '\n';
    it = end;
  }
}

llvm::json::Value sparse::driver::modelCardAsJson(const ModelFacts &facts) {
  llvm::json::Array attentions;
  for (const AttentionFacts &a : facts.attentions)
    attentions.push_back(llvm::json::Object{{"heads", a.heads},
                                            {"kv_heads", a.kvHeads},
                                            {"key_dim", a.keyDim},
                                            {"value_dim", a.valueDim},
                                            {"scale", a.scale},
                                            {"softcap", a.softcap},
                                            {"window", a.window < 0 ? llvm::json::Value(nullptr) : a.window},
                                            {"normalised_heads", a.normalisesHeads},
                                            {"kv_dtype", nameOf(a.cacheType)}});
  llvm::json::Value rotary = nullptr;
  if (facts.rotary) {
    const RotaryFacts &r = *facts.rotary;
    rotary = llvm::json::Object{{"kind", r.interleaved ? "interleaved" : "half-split"},
                                {"theta", r.theta ? llvm::json::Value(*r.theta) : nullptr},
                                {"rotated_dim", r.rotatedDim},
                                {"scale", r.scale},
                                {"positions", r.positions},
                                {"derived", r.derived}};
  }
  return llvm::json::Object{{"layers", facts.layers},
                            {"hidden", facts.hidden},
                            {"vocab", facts.vocab},
                            {"ffn", facts.ffn},
                            {"gated", facts.gated},
                            {"activation", facts.activation},
                            {"attention", std::move(attentions)},
                            {"rope", std::move(rotary)},
                            {"max_context", facts.maxContext},
                            {"norm_epsilon", facts.normEpsilon},
                            {"tied", facts.tied},
                            {"parameters", facts.parameters},
                            {"weights_dtype", nameOf(facts.weightsType)}};
}

llvm::json::Value sparse::driver::sitesAsJson(const SiteTable &sites) {
  llvm::json::Array rows;
  for (const auto &[layer, parts] : sites) {
    llvm::json::Object row{{"layer", layer}};
    llvm::json::Object counts;
    for (const auto &[part, count] : parts)
      counts[sparsity::stringifyPart(part)] = count;
    row["parts"] = std::move(counts);
    rows.push_back(std::move(row));
  }
  return rows;
}
