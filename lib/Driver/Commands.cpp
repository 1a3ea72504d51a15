//===-- Commands.cpp - The sub-commands of sparse-opt -------------------------------------------------------------===//
#include "lib/Driver/Commands.h"
#include "lib/Driver/CompileCommand.h"
#include "lib/Driver/ImportCommand.h"
#include "lib/Driver/InspectCommand.h"
#include "lib/Driver/ListPoliciesCommand.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace sparse::driver;

static constexpr Command table[] = {
    {"compile", "compiles an ONNX decoder into an artifact that sparse-run runs", compileCommand},
    {"import", "reads an ONNX model into the onnx dialect", importCommand},
    {"inspect", "prints what a model is and the sites recognised in it", inspectCommand},
    {"list-policies", "lists the sparsity methods and their parameters", listPoliciesCommand},
};

llvm::ArrayRef<Command> sparse::driver::commands() { return table; }

const Command *sparse::driver::findCommand(llvm::StringRef name) {
  for (const Command &command : table)
    if (command.name == name)
      return &command;
  return nullptr;
}

void sparse::driver::printCommands(llvm::StringRef tool) {
  llvm::outs() << "Usage: " << tool << " <command> [options], or " << tool
               << " [pass options] file.mlir\n\nCommands:\n";
  for (const Command &command : table)
    llvm::outs() << "  " << llvm::left_justify(command.name, 16) << command.summary << '\n';
  llvm::outs() << "\n'" << tool << " <command> --help' explains one of them; '" << tool
               << " --help-list' lists the options of the pass driver.\n";
}
