//===-- Node.h - A policy's text as a tree --------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_NODE_H
#define SPARSE_LIB_POLICY_NODE_H

#include "mlir/IR/Location.h"

#include <optional>
#include <string>
#include <vector>

namespace sparse::policy {
/// A value of a policy file or of the inline form, with its place. LLVM's YAML nodes must be read once and in order; a
/// tree can be read as the reader likes, and the inline form builds the same one.
struct Node {
  enum class Kind { Null, Scalar, List, Map };
  struct Entry;

  Node(mlir::Location loc, Kind kind) : loc(loc), kind(kind) {}

  mlir::Location loc;
  Kind kind;
  std::string text;           // Scalar
  bool quoted = false;        // Scalar; a quoted one is a string, never a number
  std::vector<Node> items;    // List
  std::vector<Entry> entries; // Map
};

struct Node::Entry {
  Node key, value; // key is a Scalar; no two are equal
};

/// The tree of one YAML document; nothing after a located diagnostic.
std::optional<Node> parseYaml(llvm::StringRef text, llvm::StringRef fileName, mlir::MLIRContext *context);

/// The tree of the rule `[layers:]method[:key=value,...]`, given to `option`; `key` is the policy file's key for it.
/// The place of a diagnostic is `option`:1:column.
std::optional<Node> parseInline(llvm::StringRef text, llvm::StringRef key, llvm::StringRef option,
                                mlir::MLIRContext *context);
} // namespace sparse::policy

#endif
