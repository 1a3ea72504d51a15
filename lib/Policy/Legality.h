//===-- Legality.h - May these policies govern this layer? ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_LEGALITY_H
#define SPARSE_LIB_POLICY_LEGALITY_H

#include "lib/Policy/LayerPolicy.h"

namespace sparse::policy {
/// Why policies can't govern a layer: the reason, and the one or two of them that it is about.
struct Refusal {
  std::string reason;
  llvm::SmallVector<size_t, 2> culprits;
};

/// The first reason why the policies can't govern the layer, each alone and all together; nothing when they can.
/// `facts.page` is the page length where no policy has a wish, and becomes that of the layer.
std::optional<Refusal> findRefusal(sparsity::LayerFacts &facts, llvm::ArrayRef<sparsity::PolicyAttrInterface> policies);

/// When a layer with these policies is compacted while a prompt is read.
kvcache::PrefillCap compactionTime(llvm::ArrayRef<sparsity::PolicyAttrInterface> policies);

/// Checks that every policy can govern the layer, alone and beside every other. A diagnostic on `op` says why not, with
/// notes where the policies were asked for. `facts.page` as for `findRefusal`.
mlir::LogicalResult checkLegality(mlir::Operation *op, sparsity::LayerFacts &facts,
                                  llvm::ArrayRef<AskedPolicy> policies);
} // namespace sparse::policy

#endif
