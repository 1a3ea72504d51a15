//===-- Budget.h - An amount of tokens as people write it ------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_BUDGET_H
#define SPARSE_LIB_POLICY_BUDGET_H

#include "dialects/Sparsity/PolicySpec.h"

namespace sparse::policy {
/// A budget that depends on the model: a share of the longest context (`25%`, `12.5%`), or bytes of keys and values of one
/// sequence in one layer (`64MiB`).
struct Budget {
  enum class Unit { Share, Bytes };
  Unit unit;
  int64_t amount;      // bytes, or the share's numerator
  int64_t divisor = 1; // the share's denominator

  /// Nothing when `text` spells no such budget.
  static std::optional<Budget> read(llvm::StringRef text);
  /// The tokens of each of `heads` KV heads of a layer whose pages hold elements of `stored`, rounded down.
  int64_t tokensOf(const sparsity::LayerFacts &facts, int64_t heads, mlir::Type stored) const;
};
} // namespace sparse::policy

#endif
