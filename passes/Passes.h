//===-- Passes.h - Passes of the road --------------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_PASSES_H
#define SPARSE_PASSES_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace sparse {
#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

struct RaiseOptions : public mlir::PassPipelineOptions<RaiseOptions> {
  Option<int64_t> maxContext{*this, "max-context", llvm::cl::init(8192),
                             llvm::cl::desc("Positions of the RoPE tables that are computed from frequencies")};
};

/// The raise phase: the importer's 1:1 graph to canonical form (docs/architecture.md §2), with sites.
void buildRaisePipeline(mlir::OpPassManager &manager, const RaiseOptions &options);

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"
/// `sparse-raise` and the pipelines of the other phases, by name.
void registerPipelines();
} // namespace sparse

#endif
