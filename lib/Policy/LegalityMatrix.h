//===-- LegalityMatrix.h - Which methods may govern a layer together -------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_LEGALITYMATRIX_H
#define SPARSE_LIB_POLICY_LEGALITYMATRIX_H

#include "dialects/Sparsity/PolicySpec.h"

namespace sparse::policy {
/// What becomes of a policy file: nothing is wrong with it, or what a compilation says.
struct Verdict {
  bool legal;
  std::string reason;
};

/// Two methods on one layer, in the order in which a policy names them; a method may be paired with itself.
struct MethodPair {
  const sparsity::PolicySpec *first, *second;
  Verdict together;             ///< both on all heads
  std::optional<Verdict> apart; ///< each on a head of its own; nothing where one has no heads to name
};

struct LegalityMatrix {
  llvm::SmallVector<const sparsity::PolicySpec *> methods; ///< by key, then by name
  llvm::SmallVector<Verdict> alone;                        ///< of each of them
  llvm::SmallVector<MethodPair> pairs;                     ///< row by row
};

/// The methods of the context, by key, then by name.
llvm::SmallVector<const sparsity::PolicySpec *> sortedMethods(mlir::MLIRContext *context);

/// Reads a policy for every pair of methods, with default parameters, and applies it to a layer: what the reader and the
/// methods themselves say is what the matrix holds.
LegalityMatrix legalityMatrix(mlir::MLIRContext *context);

/// As Markdown: a table, and its reasons as numbered notes.
void printMatrix(const LegalityMatrix &matrix, llvm::raw_ostream &os);
/// As JSON.
void printMatrixJson(const LegalityMatrix &matrix, llvm::raw_ostream &os);
} // namespace sparse::policy

#endif
