//===-- FormatPolicy.cpp - Policies of layers as a policy file ----------------------------------------------------===//
#include "lib/Policy/LayerPolicy.h"

#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using namespace sparse::sparsity;

static void print(Attribute value, raw_ostream &os) {
  if (auto boolean = dyn_cast<BoolAttr>(value)) {
    os << (boolean.getValue() ? "true" : "false");
  } else if (auto integer = dyn_cast<IntegerAttr>(value)) {
    os << integer.getInt();
  } else if (auto number = dyn_cast<FloatAttr>(value)) {
    os << formatNumber(number.getValueAsDouble());
  } else if (auto text = dyn_cast<StringAttr>(value)) {
    os << text.getValue();
  } else {
    os << '[';
    llvm::interleaveComma(cast<DenseI64ArrayAttr>(value).asArrayRef(), os);
    os << ']';
  }
}

std::string sparse::policy::formatMethod(PolicyAttrInterface policy) {
  std::string text;
  llvm::raw_string_ostream os(text);
  const PolicySpec &spec = policy.getPolicySpec();
  os << spec.name << ": {";
  llvm::interleaveComma(spec.parameters, os, [&](const ParameterSpec &parameter) {
    os << parameter.name << ": ";
    print(policy.getPolicyParams().get(parameter.name), os);
  });
  os << '}';
  return text;
}

static void printChoice(PolicyKind kind, ArrayRef<AskedPolicy> policies, raw_ostream &os) {
  if (policies.empty())
    return;
  // A mapping names each method once.
  llvm::SmallDenseSet<const PolicySpec *> named;
  bool repeats = !llvm::all_of(policies, [&](AskedPolicy policy) {
    return named.insert(&policy.attr.getPolicySpec()).second;
  });
  os << "    " << keyOf(kind) << (repeats ? ": [{" : ": {");
  llvm::interleave(
      policies, os, [&](const AskedPolicy &policy) { os << formatMethod(policy.attr); }, repeats ? "}, {" : ", ");
  os << (repeats ? "}]\n" : "}\n");
}

std::string sparse::policy::formatPolicy(ArrayRef<LayerPolicy> layers) {
  std::string text;
  llvm::raw_string_ostream os(text);
  SmallVector<bool> written(layers.size());
  for (size_t first = 0; first < layers.size(); ++first) {
    if (written[first] || (layers[first].attention.empty() && layers[first].kv.empty()))
      continue;
    SmallVector<int64_t> alike;
    for (size_t layer = first; layer < layers.size(); ++layer)
      if (layers[layer] == layers[first]) {
        alike.push_back(static_cast<int64_t>(layer));
        written[layer] = true;
      }
    if (text.empty())
      os << "version: 1\nrules:\n";
    os << "  - layers: " << (alike.size() == layers.size() ? "all" : formatRange(alike)) << "\n";
    printChoice(PolicyKind::Attention, layers[first].attention, os);
    printChoice(PolicyKind::KV, layers[first].kv, os);
  }
  return text;
}
