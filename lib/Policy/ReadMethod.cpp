//===-- ReadMethod.cpp - A method and its parameters from a policy's text -----------------------------------------===//
#include "lib/Policy/ReadMethod.h"
#include "lib/Support/NearestName.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using namespace sparse::sparsity;

/// Turns a key off again.
static constexpr StringLiteral kDense = "dense";

/// Decimal, as every YAML reader takes it: `010` is eight to some.
static std::optional<int64_t> readInteger(const Node &node) {
  StringRef digits = node.text;
  digits.consume_front("-");
  int64_t value = 0;
  if (node.kind != Node::Kind::Scalar || node.quoted || digits.empty() || !llvm::all_of(digits, llvm::isDigit) ||
      (digits.size() > 1 && digits.front() == '0') || StringRef(node.text).getAsInteger(10, value))
    return std::nullopt;
  return value;
}

/// A decimal number that starts with a digit.
static std::optional<double> readNumber(const Node &node) {
  double value = 0;
  if (node.kind != Node::Kind::Scalar || node.quoted || node.text.empty() || !llvm::isDigit(node.text.front()) ||
      !llvm::all_of(node.text, [](char c) { return llvm::isDigit(c) || StringRef(".e+-").contains(c); }) ||
      StringRef(node.text).getAsDouble(value))
    return std::nullopt;
  return value;
}

/// The attribute that `node` spells for a parameter of this kind; null when it spells none.
static Attribute readValue(ParameterSpec::Kind kind, const Node &node, MLIRContext *context) {
  Builder b(context);
  switch (kind) {
  case ParameterSpec::Kind::Integer:
  case ParameterSpec::Kind::Budget:
    if (std::optional<int64_t> value = readInteger(node))
      return b.getI64IntegerAttr(*value);
    return {};
  case ParameterSpec::Kind::Boolean:
    if (node.kind != Node::Kind::Scalar || node.quoted || (node.text != "true" && node.text != "false"))
      return {};
    return b.getBoolAttr(node.text == "true");
  case ParameterSpec::Kind::Choice:
    return node.kind == Node::Kind::Scalar ? b.getStringAttr(node.text) : Attribute();
  case ParameterSpec::Kind::Number:
    if (std::optional<double> value = readNumber(node))
      return b.getF64FloatAttr(*value);
    return {};
  case ParameterSpec::Kind::Heads: llvm_unreachable("read as a range");
  }
  llvm_unreachable("unknown kind of parameter");
}

static std::string describe(const Node &node) {
  switch (node.kind) {
  case Node::Kind::Null: return "empty";
  case Node::Kind::Scalar: return (node.quoted ? "the string '" : "'") + node.text + "'";
  case Node::Kind::List: return "a list";
  case Node::Kind::Map: return "a mapping";
  }
  llvm_unreachable("unknown kind of node");
}

static SmallVector<StringRef> namesOf(const PolicyRegistry &registry, PolicyKind kind) {
  SmallVector<StringRef> names;
  for (const PolicyEntry &entry : registry.all())
    if (entry.spec->kind == kind)
      names.push_back(entry.spec->name);
  names.push_back(kDense);
  return names;
}

std::string MethodReader::legalNames(PolicyKind kind) const { return quotedNames(namesOf(registry, kind)); }

const PolicyEntry *MethodReader::find(PolicyKind kind, const Node &name) const {
  const PolicyEntry *entry = registry.find(name.text);
  if (entry && entry->spec->kind == kind)
    return entry;
  InFlightDiagnostic diag = emitError(name.loc);
  if (entry) {
    diag << "'" << name.text << "' stands under '" << keyOf(entry->spec->kind) << "', not under '" << keyOf(kind)
         << "'";
  } else {
    SmallVector<StringRef> names = namesOf(registry, kind);
    StringRef near = nearestName(name.text, names);
    diag << "unknown method '" << name.text << "'" << (near.empty() ? "" : "; did you mean '" + near.str() + "'?");
  }
  diag << "; legal: " << legalNames(kind);
  return nullptr;
}

bool MethodReader::readParameter(Method &method, NamedAttrList &params, const Node::Entry &entry) const {
  const PolicySpec &spec = *method.entry->spec;
  StringRef name = entry.key.text;
  const ParameterSpec *parameter = spec.find(name);
  if (!parameter) {
    SmallVector<StringRef> names;
    for (const ParameterSpec &candidate : spec.parameters)
      names.push_back(candidate.name);
    StringRef near = nearestName(name, names);
    emitError(entry.key.loc) << "'" << spec.name << "' has no parameter '" << name << "'"
                             << (near.empty() ? "" : "; did you mean '" + near.str() + "'?")
                             << "; legal: " << quotedNames(names);
    return false;
  }
  // Heads are written as a range, whose end may be that of the model.
  if (parameter->kind == ParameterSpec::Kind::Heads) {
    method.heads = IndexRange::read(entry.value, "KV head");
    return method.heads.has_value();
  }
  if (parameter->kind == ParameterSpec::Kind::Budget && entry.value.kind == Node::Kind::Scalar && !entry.value.quoted)
    if (std::optional<Budget> budget = Budget::read(entry.value.text)) {
      method.budgets.push_back({parameter, *budget, entry.value.text, entry.value.loc});
      return true;
    }
  Attribute value = readValue(parameter->kind, entry.value, context);
  if (!value || !parameter->whyNot(value).empty()) {
    emitError(entry.value.loc) << "'" << name << "' of '" << spec.name << "' is " << describe(entry.value)
                               << "; legal: " << parameter->describe();
    return false;
  }
  params.set(name, value);
  return true;
}

std::optional<Method> MethodReader::read(PolicyKind kind, const Node::Entry &entry) const {
  Method method{nullptr, {}, std::nullopt, entry.key.loc};
  bool isDense = entry.key.text == kDense;
  if (!isDense) {
    method.entry = find(kind, entry.key);
    if (!method.entry)
      return std::nullopt;
  }
  if (entry.value.kind != Node::Kind::Map && entry.value.kind != Node::Kind::Null) {
    emitError(entry.value.loc) << "the parameters of '" << entry.key.text
                               << "' are no mapping; legal: {parameter: value, ...}";
    return std::nullopt;
  }
  if (isDense) {
    if (!entry.value.entries.empty()) {
      emitError(entry.value.entries.front().key.loc) << "'dense' has no parameters; legal: 'dense: {}'";
      return std::nullopt;
    }
    return method;
  }
  NamedAttrList params;
  bool ok = true;
  for (const Node::Entry &parameter : entry.value.entries)
    ok &= readParameter(method, params, parameter);
  if (!ok)
    return std::nullopt;
  method.params = params.getDictionary(context);
  return method;
}
