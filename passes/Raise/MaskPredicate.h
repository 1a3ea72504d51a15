//===-- MaskPredicate.h - Masks as predicates -----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_MASKPREDICATE_H
#define SPARSE_PASSES_RAISE_MASKPREDICATE_H

#include "passes/Raise/Evaluation.h"

namespace sparse::raise {

/// One tensor that hides keys from queries; it broadcasts to [batch, heads, queries, keys].
struct MaskTerm {
  enum Kind {
    Attend,  // boolean: true keeps the score
    Hide,    // boolean: true replaces the score by a large negative number
    Additive // added to the score: 0 keeps it, a large negative number hides it
  };
  mlir::Value value;
  Kind kind;
};

/// All that decides which keys a query sees.
struct MaskTerms {
  llvm::SmallVector<MaskTerm, 1> terms;
  /// Attributes of an Attention: keys after the query are hidden, and those more than `leftWindow` before it (-1: none
  /// are). The query at index i stands at past + i, or at i when the operator has no past.
  bool isCausal = false;
  int64_t leftWindow = -1, rightWindow = -1;
  bool hasPast = true;
};

/// What the terms amount to: causal from the end of the past, within a window.
struct Visibility {
  /// Keys before the query that it sees, besides itself; -1: all.
  int64_t leftWindow = -1;
};

/// Evaluates the terms under every assignment and compares with the predicates that canonical form has. Keys that the
/// attention mask declares padding may be hidden or not. On failure `reason` says which query sees which key wrongly.
std::optional<Visibility> classifyMask(const Evaluation &evaluation, const MaskTerms &mask, std::string &reason);

} // namespace sparse::raise

#endif
