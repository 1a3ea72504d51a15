//===-- Commands.h - Sub-commands of a tool -------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_COMMANDS_H
#define SPARSE_LIB_DRIVER_COMMANDS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace sparse::driver {
/// How a command ends.
enum ExitCode {
  ExitOk = 0,
  ExitCheckFailed = 1, ///< the command ran and its answer is no
  ExitUsage = 2,       ///< the command line is wrong
  ExitBadInput = 3,    ///< a file is missing, malformed or not supported
  ExitResources = 4,   ///< out of memory, disk or time
  ExitInternal = 5     ///< a bug
};

/// One sub-command. It parses its own arguments: LLVM's global option parser is never involved, whose thousands of
/// names would show up in `--help`.
struct Command {
  llvm::StringRef name;
  llvm::StringRef summary;
  int (*run)(int argc, char **argv); ///< argv[0] is the command's name
};

/// Every sub-command of sparse-opt.
llvm::ArrayRef<Command> commands();
/// The command called `name`, or null.
const Command *findCommand(llvm::StringRef name);
/// Prints name and summary of every command to stdout.
void printCommands(llvm::StringRef tool);
} // namespace sparse::driver

#endif
