//===-- YamlTree.h - A text of a person as a tree --------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_SUPPORT_YAMLTREE_H
#define SPARSE_LIB_SUPPORT_YAMLTREE_H

#include "mlir/IR/Location.h"

#include <optional>
#include <string>
#include <vector>

namespace sparse {
/// A value of a YAML file, or of a text that builds the same tree, with its place. LLVM's YAML nodes must be read once and in
/// order; a tree can be read as the reader likes.
struct YamlNode {
  enum class Kind { Null, Scalar, List, Map };
  struct Entry;

  YamlNode(mlir::Location loc, Kind kind) : loc(loc), kind(kind) {}

  mlir::Location loc;
  Kind kind;
  std::string text;            // Scalar
  bool quoted = false;         // Scalar; a quoted one is a string, never a number
  std::vector<YamlNode> items; // List
  std::vector<Entry> entries;  // Map
};

struct YamlNode::Entry {
  YamlNode key, value; // key is a Scalar; no two are equal
};

/// The tree of one YAML document; nothing after a located diagnostic.
std::optional<YamlNode> parseYaml(llvm::StringRef text, llvm::StringRef fileName, mlir::MLIRContext *context);
} // namespace sparse

#endif
