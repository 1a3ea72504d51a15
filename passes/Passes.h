//===-- Passes.h - Passes of the road --------------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_PASSES_H
#define SPARSE_PASSES_PASSES_H

#include "dialects/KVCache/KVCache.h"
#include "dialects/ONNX/ONNX.h"
#include "dialects/Plan/Plan.h"
#include "dialects/Sparsity/Sparsity.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
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
