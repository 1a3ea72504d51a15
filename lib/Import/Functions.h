//===-- Functions.h - Model-local functions -------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_FUNCTIONS_H
#define SPARSE_LIB_IMPORT_FUNCTIONS_H

#include "lib/Import/Import.h"
#include "lib/Import/Proto.h"
#include "lib/Import/Source.h"

#include "llvm/ADT/StringMap.h"

namespace sparse::import {
/// Domains "" and "ai.onnx" are the same one.
llvm::StringRef canonicalDomain(llvm::StringRef domain);

/// The functions that a model defines, by (domain, name, overload).
class Functions {
public:
  /// Registers the functions of `model`. Emits a diagnostic and fails when one is defined twice, when they are
  /// recursive or nest too deeply, or when inlining all calls would exceed the limit on nodes.
  mlir::LogicalResult load(const proto::ModelProto &model, const Source &source, const ImportLimits &limits);

  /// The function that `node` calls; null when it is an operator.
  const proto::FunctionProto *lookup(const proto::NodeProto &node) const;

private:
  struct Entry {
    const proto::FunctionProto *function;
    enum { New, Open, Done } state = New;
    uint64_t nodes = 0; ///< after inlining
  };
  mlir::FailureOr<uint64_t> expand(Entry &entry, unsigned depth);
  mlir::FailureOr<uint64_t> expand(const proto::NodeProto &node, unsigned depth);
  mlir::Location locationOf(const Entry &entry) const;

  llvm::StringMap<Entry> entries;
  const Source *source = nullptr;
  const ImportLimits *limits = nullptr;
};
} // namespace sparse::import

#endif
