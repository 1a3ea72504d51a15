//===-- PolicySpec.cpp - Parameters and registry of methods -------------------------------------------------------===//
#include "dialects/Sparsity/PolicySpec.h"
#include "dialects/Sparsity/Sparsity.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace sparse::sparsity;

Attribute ParameterSpec::getDefault(MLIRContext *context) const {
  Builder b(context);
  switch (kind) {
  case Kind::Integer:
  case Kind::Budget: return b.getI64IntegerAttr(defaultInteger);
  case Kind::Boolean: return b.getBoolAttr(defaultInteger != 0);
  case Kind::Choice: return b.getStringAttr(defaultChoice);
  case Kind::Heads: return b.getDenseI64ArrayAttr({});
  case Kind::Number: return b.getF64FloatAttr(defaultNumber);
  }
  llvm_unreachable("unknown kind of parameter");
}

static std::string describeInteger(const ParameterSpec &parameter) {
  return ("an integer from " + Twine(parameter.minimum) + " to " + Twine(parameter.maximum)).str();
}

std::string ParameterSpec::describe() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  switch (kind) {
  case Kind::Integer: os << describeInteger(*this); break;
  case Kind::Budget: os << describeInteger(*this) << ", a share (25%) or bytes (64MiB)"; break;
  case Kind::Boolean: os << "true or false"; break;
  case Kind::Choice: llvm::interleave(choices, os, " or "); break;
  case Kind::Heads: os << "KV heads as a range or list: 0-3, [0, 2]"; break;
  case Kind::Number: os << "a number from " << minimum << " to " << maximum; break;
  }
  return text;
}

std::string ParameterSpec::whyNot(Attribute value) const {
  auto isLegal = [&](int64_t v) { return v >= minimum && v <= maximum; };
  bool ok = false;
  switch (kind) {
  case Kind::Integer:
  case Kind::Budget: {
    auto integer = dyn_cast<IntegerAttr>(value);
    ok = integer && integer.getType().isInteger(64) && isLegal(integer.getInt());
    break;
  }
  case Kind::Number: {
    auto number = dyn_cast<FloatAttr>(value);
    ok = number && number.getType().isF64() && number.getValueAsDouble() >= static_cast<double>(minimum) &&
         number.getValueAsDouble() <= static_cast<double>(maximum);
    break;
  }
  case Kind::Boolean: ok = isa<BoolAttr>(value); break;
  case Kind::Choice: {
    auto choice = dyn_cast<StringAttr>(value);
    ok = choice && llvm::is_contained(choices, choice.getValue());
    break;
  }
  case Kind::Heads: {
    auto list = dyn_cast<DenseI64ArrayAttr>(value);
    ok = list && llvm::all_of(list.asArrayRef(), [](int64_t head) { return head >= 0; });
    break;
  }
  }
  if (ok)
    return "";
  // The other forms of a budget are a policy file's.
  return kind == Kind::Budget ? describeInteger(*this) : describe();
}

std::string sparse::sparsity::formatNumber(double value) {
  std::string text;
  double back = 0;
  for (int digits = 1; digits <= 17 && (text.empty() || StringRef(text).getAsDouble(back) || back != value); ++digits) {
    text.clear();
    llvm::raw_string_ostream(text) << llvm::format("%.*g", digits, value);
  }
  return text;
}

const ParameterSpec *PolicySpec::find(StringRef parameter) const {
  const auto *it = llvm::find_if(parameters, [&](const ParameterSpec &p) { return p.name == parameter; });
  return it == parameters.end() ? nullptr : it;
}

const ParameterSpec *PolicySpec::findHeads() const {
  const auto *it = llvm::find_if(parameters, [](const ParameterSpec &p) { return p.kind == ParameterSpec::Kind::Heads; });
  return it == parameters.end() ? nullptr : it;
}

DictionaryAttr PolicySpec::complete(DictionaryAttr params, function_ref<InFlightDiagnostic()> emitError) const {
  for (NamedAttribute given : params) {
    const ParameterSpec *parameter = find(given.getName());
    if (!parameter) {
      InFlightDiagnostic diag = emitError() << "'" << name << "' has no parameter '" << given.getName().strref()
                                            << "'; legal: ";
      llvm::interleave(
          parameters, [&](const ParameterSpec &p) { diag << "'" << p.name << "'"; }, [&] { diag << ", "; });
      return {};
    }
    std::string legal = parameter->whyNot(given.getValue());
    if (!legal.empty()) {
      emitError() << "'" << parameter->name << "' of '" << name << "' is " << given.getValue() << "; legal: "
                  << legal;
      return {};
    }
  }
  NamedAttrList all(params);
  for (const ParameterSpec &parameter : parameters)
    if (!all.get(parameter.name))
      all.set(parameter.name, parameter.getDefault(params.getContext()));
  return all.getDictionary(params.getContext());
}

PolicyRegistry &PolicyRegistry::get(MLIRContext *context) {
  return context->getOrLoadDialect<SparsityDialect>()->getPolicies();
}

const PolicyEntry *PolicyRegistry::find(StringRef name) const {
  const auto *it = llvm::find_if(entries, [&](const PolicyEntry &e) { return e.spec->name == name; });
  return it == entries.end() ? nullptr : it;
}
