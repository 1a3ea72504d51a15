//===-- InspectCommand.cpp - sparse-opt inspect -------------------------------------------------------------------===//
#include "lib/Driver/InspectCommand.h"
#include "lib/Driver/Args.h"
#include "lib/Driver/Commands.h"
#include "lib/Driver/Diagnostics.h"
#include "lib/Driver/Driver.h"
#include "lib/Driver/ModelCard.h"
#include "lib/Import/Import.h"
#include "passes/Passes.h"
#include "passes/Raise/CheckRaised.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/Support/Path.h"

using namespace mlir;
using namespace sparse;

namespace {
/// Nodes that raise left as they were, in program order.
SmallVector<Operation *> unraisedNodes(func::FuncOp func) {
  SmallVector<Operation *> nodes;
  for (Operation &op : func.getOps())
    if (raise::whyNotCanonical(&op))
      nodes.push_back(&op);
  return nodes;
}

/// How many nodes of each kind: `12 Shape, 3 Where`.
std::string countByKind(ArrayRef<Operation *> nodes) {
  std::map<std::string, int> counts;
  for (Operation *op : nodes)
    ++counts[raise::onnxTypeOf(op).str()];
  std::string text;
  for (const auto &[kind, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + kind;
  return text;
}
} // namespace

int sparse::driver::inspectCommand(int argc, char **argv) {
  std::string input;
  bool strict = false, json = false;
  Args args("sparse-opt inspect", "Prints what a model is, and the sites recognised in it.");
  args.positional(input, "model.onnx", "the model");
  args.flag(strict, "strict", "fails, naming the first node, when a part of the graph was not recognised");
  args.flag(json, "json", "prints JSON");
  args.example("sparse-opt inspect model.onnx", "layers, heads, RoPE, window, KV cache, sites");
  args.example("sparse-opt inspect --strict model.onnx", "can this model be compiled?");
  if (std::optional<int> exitCode = args.parse(argc, argv))
    return *exitCode;

  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.printOpOnDiagnostic(false);
  DiagnosticPrinter printer(&context);
  OwningOpRef<ModuleOp> module = import::importOnnx(input, {}, &context);
  if (!module)
    return ExitBadInput;

  PassManager manager(&context);
  RaiseOptions options;
  buildRaisePipeline(manager, options);
  bool raised = false;
  {
    // What is not raised is shown below, once; the errors of the pipeline say the same at length.
    std::string messages;
    llvm::raw_string_ostream stream(messages);
    DiagnosticPrinter collected(&context, stream);
    raised = succeeded(manager.run(*module));
    if (!raised && strict)
      llvm::errs() << messages;
  }

  auto functions = raise::functionsOf(*module);
  if (functions.empty())
    return ExitBadInput;
  func::FuncOp func = functions.front();
  SmallVector<Operation *> left = unraisedNodes(func);
  if (!raised && strict) {
    if (!left.empty())
      left.front()->emitError("the first node that is not raised, of ") << countByKind(left);
    return ExitCheckFailed;
  }

  std::optional<ModelFacts> facts;
  if (raised) {
    FailureOr<ModelFacts> collected = collectModelFacts(func);
    if (failed(collected))
      return ExitBadInput;
    facts = std::move(*collected);
  }
  SiteTable sites = collectSites(func);
  if (json) {
    llvm::json::Object object{{"model", llvm::sys::path::filename(input)},
                              {"raised", raised},
                              {"facts", facts ? modelCardAsJson(*facts) : nullptr},
                              {"sites", sitesAsJson(sites)}};
    if (!raised)
      object["unraised"] = countByKind(left);
    llvm::outs() << llvm::formatv("{0:2}", llvm::json::Value(std::move(object))) << '\n';
    return ExitOk;
  }
  llvm::outs() << llvm::sys::path::filename(input) << '\n';
  if (!raised) {
    llvm::outs() << "  not in canonical form; left: " << countByKind(left)
                 << "\n  'sparse-opt inspect --strict' says why\n";
    return ExitOk;
  }
  printModelCard(*facts, llvm::outs());
  printSites(sites, llvm::outs());
  return ExitOk;
}
