//===-- Legality.h - May these policies govern this layer? ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_LEGALITY_H
#define SPARSE_LIB_POLICY_LEGALITY_H

#include "lib/Policy/LayerPolicy.h"

namespace sparse::policy {
/// Checks that every policy can govern the layer, alone and beside every other. A diagnostic on `op` says why not, with
/// notes where the policies were asked for. `facts.page` is the page length where no policy has a wish, and becomes
/// that of the layer.
mlir::LogicalResult checkLegality(mlir::Operation *op, sparsity::LayerFacts &facts,
                                  llvm::ArrayRef<AskedPolicy> policies);
} // namespace sparse::policy

#endif
