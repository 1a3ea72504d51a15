//===-- IndexRange.h - Sets of layers and heads as text -------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_INDEXRANGE_H
#define SPARSE_LIB_POLICY_INDEXRANGE_H

#include "lib/Policy/Node.h"
#include "llvm/ADT/SmallVector.h"

namespace sparse::policy {
/// Indices as a person writes them: `all`, `3`, `2-`, `0-4`, `1,4-6`, or a YAML list of these.
class IndexRange {
public:
  explicit IndexRange(mlir::Location loc) : loc(loc) {}

  /// Nothing after a diagnostic. `what` is what is counted: "layer" or "KV head".
  static std::optional<IndexRange> read(const Node &node, llvm::StringRef what);
  /// Every index.
  static IndexRange all(mlir::Location loc);

  mlir::Location getLoc() const { return loc; }
  /// The indices below `count`, ascending; nothing when the range names others: `error` then says so.
  std::optional<llvm::SmallVector<int64_t>> resolve(int64_t count, llvm::StringRef what, std::string &error) const;

private:
  struct Part {
    int64_t first, last; // last is -1 for "and all that follow"
  };
  bool add(llvm::StringRef text);

  mlir::Location loc;
  llvm::SmallVector<Part> parts;
};

/// The inverse: ascending indices in the shortest form.
std::string formatRange(llvm::ArrayRef<int64_t> indices);
} // namespace sparse::policy

#endif
