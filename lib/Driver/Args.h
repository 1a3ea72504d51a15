//===-- Args.h - Command lines of sub-commands ----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_ARGS_H
#define SPARSE_LIB_DRIVER_ARGS_H

#include "lib/Support/NearestName.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace llvm {
class raw_ostream;
}

namespace sparse::driver {
using sparse::nearestName;

/// The command line of one sub-command. Options are bound to variables, in any order with the positional arguments:
/// `--name=value`, `--name value`, `-o value`, flags without a value, and `--` before what only looks like an option.
///
///     Args args("sparse-opt import", "Reads an ONNX model into the onnx dialect.");
///     args.positional(input, "model.onnx", "the model");
///     args.option(output, "output", 'o', "FILE", "where to write; - is standard output");
///     args.example("sparse-opt import model.onnx -o model.mlir");
///     if (std::optional<int> exitCode = args.parse(argc, argv))
///       return *exitCode;
class Args {
public:
  Args(llvm::StringRef command, llvm::StringRef summary) : command(command.str()), summary(summary.str()) {}

  void flag(bool &target, llvm::StringRef name, llvm::StringRef help);
  void option(std::string &target, llvm::StringRef name, char letter, llvm::StringRef metavar, llvm::StringRef help);
  void option(std::vector<std::string> &target, llvm::StringRef name, llvm::StringRef metavar, llvm::StringRef help);
  void option(int64_t &target, llvm::StringRef name, llvm::StringRef metavar, llvm::StringRef help);
  /// An option with its own parser, which returns what is wrong with the value, or nothing.
  void option(std::function<std::string(llvm::StringRef)> parser, llvm::StringRef name, llvm::StringRef metavar,
              llvm::StringRef help);
  /// The next positional argument. All of them are required, except ones added by `optionalPositional` after them.
  void positional(std::string &target, llvm::StringRef metavar, llvm::StringRef help);
  void optionalPositional(std::string &target, llvm::StringRef metavar, llvm::StringRef help);
  /// A line of the "Examples" section of `--help`.
  void example(llvm::StringRef line, llvm::StringRef what);

  /// Fills the bound variables. Returns the exit code when the command is over: 0 after `--help`, 2 after an error,
  /// which was printed with the nearest known name.
  std::optional<int> parse(int argc, char **argv);
  void printHelp(llvm::raw_ostream &os) const;
  /// Prints `message` as a usage error of this command; returns its exit code.
  int usageError(const std::string &message) const;

private:
  struct Option {
    std::string name, metavar, help;
    char letter = 0;
    bool isFlag = false;
    std::function<std::string(llvm::StringRef)> set;
  };
  struct Positional {
    std::string *target;
    std::string metavar, help;
    bool required;
  };
  const Option *find(llvm::StringRef name) const;
  std::string unknown(llvm::StringRef name) const;

  std::string command, summary;
  std::vector<Option> options;
  std::vector<Positional> positionals;
  std::vector<std::pair<std::string, std::string>> examples;
};
} // namespace sparse::driver

#endif
