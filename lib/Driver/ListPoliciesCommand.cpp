//===-- ListPoliciesCommand.cpp - sparse-opt list-policies --------------------------------------------------------===//
#include "lib/Driver/ListPoliciesCommand.h"
#include "dialects/Sparsity/PolicySpec.h"
#include "lib/Driver/Args.h"
#include "lib/Driver/Commands.h"
#include "lib/Driver/Driver.h"
#include "lib/Policy/LegalityMatrix.h"
#include "lib/Policy/PolicyFile.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::sparsity;
using Kind = ParameterSpec::Kind;

/// The default as a policy file spells it.
static std::string defaultOf(const ParameterSpec &parameter) {
  switch (parameter.kind) {
  case Kind::Integer:
  case Kind::Budget: return std::to_string(parameter.defaultInteger);
  case Kind::Boolean: return parameter.defaultInteger ? "true" : "false";
  case Kind::Choice: return parameter.defaultChoice.str();
  case Kind::Heads: return "[]";
  case Kind::Number: return formatNumber(parameter.defaultNumber);
  }
  llvm_unreachable("unknown kind of parameter");
}

static llvm::json::Value defaultAsJson(const ParameterSpec &parameter) {
  switch (parameter.kind) {
  case Kind::Integer:
  case Kind::Budget: return parameter.defaultInteger;
  case Kind::Boolean: return parameter.defaultInteger != 0;
  case Kind::Choice: return parameter.defaultChoice;
  case Kind::Heads: return llvm::json::Array();
  case Kind::Number: return parameter.defaultNumber;
  }
  llvm_unreachable("unknown kind of parameter");
}

static StringRef typeOf(Kind kind) {
  switch (kind) {
  case Kind::Integer: return "integer";
  case Kind::Budget: return "budget";
  case Kind::Boolean: return "boolean";
  case Kind::Choice: return "choice";
  case Kind::Heads: return "heads";
  case Kind::Number: return "number";
  }
  llvm_unreachable("unknown kind of parameter");
}

static void printJson(ArrayRef<const PolicySpec *> specs, raw_ostream &os) {
  llvm::json::OStream json(os, /*IndentSize=*/2);
  json.array([&] {
    for (const PolicySpec *spec : specs)
      json.object([&] {
        json.attribute("name", spec->name);
        json.attribute("key", policy::keyOf(spec->kind));
        json.attribute("summary", spec->summary);
        json.attribute("source", spec->source);
        json.attributeArray("parameters", [&] {
          for (const ParameterSpec &parameter : spec->parameters)
            json.object([&] {
              json.attribute("name", parameter.name);
              json.attribute("type", typeOf(parameter.kind));
              json.attribute("summary", parameter.summary);
              json.attribute("default", defaultAsJson(parameter));
              if (llvm::is_contained({Kind::Integer, Kind::Budget, Kind::Number}, parameter.kind)) {
                json.attribute("minimum", parameter.minimum);
                json.attribute("maximum", parameter.maximum);
              }
              if (parameter.kind == Kind::Choice)
                json.attribute("choices", llvm::json::Array(parameter.choices));
            });
        });
      });
  });
  os << '\n';
}

static void printTable(ArrayRef<const PolicySpec *> specs, raw_ostream &os) {
  // Name, default, legal values of every parameter, as wide as the widest.
  size_t nameWidth = 0, defaultWidth = 0, legalWidth = 0;
  for (const PolicySpec *spec : specs)
    for (const ParameterSpec &parameter : spec->parameters) {
      nameWidth = std::max(nameWidth, parameter.name.size());
      defaultWidth = std::max(defaultWidth, defaultOf(parameter).size());
      legalWidth = std::max(legalWidth, parameter.describe().size());
    }
  StringRef separator = "";
  for (const PolicySpec *spec : specs) {
    os << separator << policy::keyOf(spec->kind) << ": " << spec->name << "  " << spec->summary << " (" << spec->source
       << ")\n";
    for (const ParameterSpec &parameter : spec->parameters)
      os << "    " << llvm::left_justify(parameter.name, nameWidth) << "  "
         << llvm::left_justify(defaultOf(parameter), defaultWidth) << "  "
         << llvm::left_justify(parameter.describe(), legalWidth) << "  " << parameter.summary << '\n';
    separator = "\n";
  }
  os << "\nUnder each key 'dense: {}' turns the key off again. Columns: parameter, default, legal values, meaning.\n";
}

int sparse::driver::listPoliciesCommand(int argc, char **argv) {
  bool json = false, matrix = false;
  Args args("sparse-opt list-policies", "Lists the methods that a policy file may name, with their parameters.");
  args.flag(matrix, "matrix", "prints which methods may govern a layer together, and why the others may not");
  args.flag(json, "json", "prints JSON instead of the table");
  args.example("sparse-opt list-policies", "what can be written under 'attention' and 'kv'");
  args.example("sparse-opt list-policies --matrix", "what can stand there together");
  if (std::optional<int> exitCode = args.parse(argc, argv))
    return *exitCode;

  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  if (matrix) {
    policy::LegalityMatrix pairs = policy::legalityMatrix(&context);
    if (json)
      policy::printMatrixJson(pairs, llvm::outs());
    else
      policy::printMatrix(pairs, llvm::outs());
    return ExitOk;
  }
  SmallVector<const PolicySpec *> specs = policy::sortedMethods(&context);
  if (json)
    printJson(specs, llvm::outs());
  else
    printTable(specs, llvm::outs());
  return ExitOk;
}
