//===-- LayerPolicy.h - The policies of each layer ------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_LAYERPOLICY_H
#define SPARSE_LIB_POLICY_LAYERPOLICY_H

#include "dialects/Sparsity/Sparsity.h"
#include "lib/Policy/PolicyFile.h"

namespace sparse::policy {
/// A policy attribute, and where it was asked for (nothing when the IR held it already).
struct AskedPolicy {
  sparsity::PolicyAttrInterface attr;
  std::optional<mlir::Location> loc;
};

/// What governs one layer.
struct LayerPolicy {
  llvm::SmallVector<AskedPolicy, 2> attention; // at most one
  llvm::SmallVector<AskedPolicy, 2> kv;

  llvm::SmallVector<AskedPolicy, 2> &of(sparsity::PolicyKind kind) {
    return kind == sparsity::PolicyKind::Attention ? attention : kv;
  }
  /// Both keys' policies, attention first.
  llvm::SmallVector<AskedPolicy> all() const;
  bool operator==(const LayerPolicy &other) const;
};

/// Applies the rules in order to `layers` (one for each of `facts`): a rule replaces what stands under its key in its
/// layers. Fails after a diagnostic for every range outside the model.
mlir::LogicalResult applyRules(llvm::ArrayRef<Rule> rules, llvm::ArrayRef<sparsity::LayerFacts> facts,
                               llvm::MutableArrayRef<LayerPolicy> layers);

/// The policy file that says the same, with one rule for all layers that are governed alike and every parameter
/// written out. Empty when every layer is dense.
std::string formatPolicy(llvm::ArrayRef<LayerPolicy> layers);
/// `page_topk: {page: 16, budget: 2048, ...}`.
std::string formatMethod(sparsity::PolicyAttrInterface policy);
} // namespace sparse::policy

#endif
