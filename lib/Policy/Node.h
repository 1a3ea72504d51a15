//===-- Node.h - A policy's text as a tree --------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_NODE_H
#define SPARSE_LIB_POLICY_NODE_H

#include "lib/Support/YamlTree.h"

namespace sparse::policy {
using Node = YamlNode;

/// The tree of the rule `[layers:]method[:key=value,...]`, given to `option`; `key` is the policy file's key for it.
/// The place of a diagnostic is `option`:1:column.
std::optional<Node> parseInline(llvm::StringRef text, llvm::StringRef key, llvm::StringRef option,
                                mlir::MLIRContext *context);
} // namespace sparse::policy

#endif
