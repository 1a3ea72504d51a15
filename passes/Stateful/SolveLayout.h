//===-- SolveLayout.h - The cache layout of one layer ----------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_STATEFUL_SOLVELAYOUT_H
#define SPARSE_PASSES_STATEFUL_SOLVELAYOUT_H

#include "dialects/Sparsity/Sparsity.h"

namespace sparse {
/// The layout that the policies of one attention ask for. `facts.page` is the page length where no policy has a wish.
/// Null after a diagnostic on `op`: policies that can't govern this layer, or not together.
kvcache::LayoutAttr solveLayout(mlir::Operation *op, sparsity::LayerFacts facts,
                                sparsity::SelectionPolicyInterface selection, mlir::ArrayAttr kvPolicies);
} // namespace sparse

#endif
