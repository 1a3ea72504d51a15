//===-- Quantize.cpp - Eight bits for each channel of keys and values ---------------------------------------------===//
//
// A scale for each slot and KV head, because slots come, go and merge one by one; schemes with a scale for each channel
// (Z. Liu et al., "KIVI", arXiv 2402.02750) need whole groups of slots.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

const PolicySpec &QuantizeAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const StringRef formats[] = {"int8", "fp8"};
  static const PolicySpec spec{
      "quantize",
      PolicyKind::KV,
      "keys and values in eight bits, with a scale for each slot and KV head; beside any other method",
      "symmetric rounding to int8, or to E4M3 of arXiv 2209.05433",
      {{"format", Kind::Choice, "int8: 127 steps to each side; fp8: E4M3, finer for channels near zero", 0, "int8",
        formats}}};
  return spec;
}

LogicalResult QuantizeAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

std::string QuantizeAttr::whyNot(const LayerFacts &) const { return ""; }

std::string QuantizeAttr::whyNotWith(Attribute other) const {
  if (isa<QuantizeAttr>(other))
    return "both say what keys and values are stored as; legal: one of them";
  return "";
}

Type QuantizeAttr::getStorageType() const {
  if (getParams().getAs<StringAttr>("format") == "fp8")
    return Float8E4M3FNType::get(getContext());
  return IntegerType::get(getContext(), 8);
}
