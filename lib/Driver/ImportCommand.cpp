//===-- ImportCommand.cpp - sparse-opt import ---------------------------------------------------------------------===//
#include "lib/Driver/ImportCommand.h"
#include "lib/Driver/Args.h"
#include "lib/Driver/Commands.h"
#include "lib/Driver/Diagnostics.h"
#include "lib/Driver/Driver.h"
#include "lib/Import/Import.h"

#include "mlir/IR/AsmState.h"
#include "mlir/Support/FileUtilities.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;

int sparse::driver::importCommand(int argc, char **argv) {
  std::string input, output = "-";
  import::ImportOptions options;
  bool locations = false;
  Args args("sparse-opt import", "Reads an ONNX model into the onnx dialect: one op per node, weights as symbols.");
  args.positional(input, "model.onnx", "the model; its external data is found beside it");
  args.option(output, "output", 'o', "FILE", "where to write the module; - (the default) is standard output");
  args.flag(locations, "locations", "prints the location of each op: node name and number");
  args.flag(options.allowLinks, "allow-links",
            "accepts external data behind symbolic and hard links, as long as it\nstays inside the model's directory");
  args.option(options.externalDataRoot, "external-data-root", 0, "DIR",
              "directory that external data must not leave, instead of the\nmodel's own; implies --allow-links");
  args.example("sparse-opt import model.onnx -o model.mlir", "import, keep the weights where they are");
  args.example("sparse-opt import cache/snapshots/a1/model.onnx --external-data-root=cache",
               "a download cache that links to its blobs");
  if (std::optional<int> exitCode = args.parse(argc, argv))
    return *exitCode;

  DialectRegistry registry;
  registerDialects(registry);
  // One file is read by one thread; a pool would only cost its start.
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  DiagnosticPrinter printer(&context);
  OwningOpRef<ModuleOp> module = import::importOnnx(input, options, &context);
  if (!module)
    return ExitBadInput;
  std::string error;
  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(output, &error);
  if (!file) {
    llvm::errs() << "sparse-opt import: error: " << error << '\n';
    return ExitResources;
  }
  OpPrintingFlags flags;
  flags.enableDebugInfo(locations);
  module->print(file->os(), flags);
  file->os().flush();
  if (file->os().has_error()) {
    llvm::errs() << "sparse-opt import: error: '" << output << "' can't be written: " << file->os().error().message()
                 << '\n';
    file->os().clear_error();
    return ExitResources;
  }
  file->keep();
  return ExitOk;
}
