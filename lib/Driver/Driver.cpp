//===-- Driver.cpp - Dispatch of sparse-opt -----------------------------------------------------------------------===//
#include "lib/Driver/Driver.h"
#include "lib/Driver/Args.h"
#include "lib/Driver/Commands.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/FileSystem.h"

using namespace sparse::driver;

/// Runs the sub-command that the first argument names. Nothing when the pass driver should have the command line.
static std::optional<int> runCommand(int argc, char **argv) {
  if (argc < 2)
    return std::nullopt;
  llvm::StringRef first = argv[1];
  if (first == "--help" || first == "-h" || first == "help") {
    printCommands("sparse-opt");
    return ExitOk;
  }
  if (const Command *command = findCommand(first))
    return command->run(argc - 1, argv + 1);
  // A bare word that is no file was meant to be a command.
  if (first.starts_with("-") || first.contains('.') || first.contains('/') || llvm::sys::fs::exists(first))
    return std::nullopt;
  llvm::SmallVector<llvm::StringRef> names;
  for (const Command &command : commands())
    names.push_back(command.name);
  llvm::StringRef near = nearestName(first, names);
  llvm::errs() << "sparse-opt: error: unknown command '" << first << "'"
               << (near.empty() ? "" : "; did you mean '" + near.str() + "'?") << "\n(see 'sparse-opt --help')\n";
  return ExitUsage;
}

int sparse::driver::sparseOptMain(int argc, char **argv) {
  if (std::optional<int> exitCode = runCommand(argc, argv))
    return *exitCode;
  mlir::DialectRegistry registry;
  registerDialects(registry);
  registerPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "sparse-opt: compiles ONNX decoders with sparsity\n", registry));
}
