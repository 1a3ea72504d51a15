//===-- CacheFacts.h - What policies may ask about a model ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_CACHEFACTS_H
#define SPARSE_LIB_POLICY_CACHEFACTS_H

#include "dialects/ONNX/ONNX.h"
#include "dialects/Sparsity/PolicySpec.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace sparse::policy {
/// Compile options that are facts to a policy.
struct CacheOptions {
  int64_t maxContext = 0; ///< longest sequence; 0: the model's position table
  int64_t prefillChunk = 128, page = 16;
  llvm::StringRef type = "f32"; ///< of keys and values: f32 or bf16
};

/// A model in canonical form: its attentions in program order, which are its layers, and their facts.
struct CacheFacts {
  mlir::func::FuncOp main;
  int64_t maxContext = 0;
  llvm::SmallVector<onnx::AttentionOp> attentions;
  llvm::SmallVector<sparsity::LayerFacts> layers;
};

/// Fails after a diagnostic when the module has no attention in canonical form.
llvm::FailureOr<CacheFacts> factsOf(mlir::ModuleOp module, const CacheOptions &options);
} // namespace sparse::policy

#endif
