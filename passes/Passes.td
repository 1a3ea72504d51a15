// Passes of the road, by phase.
#ifndef SPARSE_PASSES_PASSES_TD
#define SPARSE_PASSES_PASSES_TD

include "mlir/Pass/PassBase.td"

//===-- stateful --------------------------------------------------------------------------------------------------===//

def StatefulPass : Pass<"sparse-stateful", "::mlir::ModuleOp"> {
  let summary = "Specialise @main into entries whose cache is state";
  let description = [{
    Solves the cache layout of each layer from its policies, then copies the canonical `@main` into one function per
    entry (docs/architecture.md §3): activations become rows `[T, width]`, past and present become one
    `!kvcache.layer` per layer, attention becomes append, (score, select,) attend, (mass, compress). `@main` goes.

    ```mlir
    %y, %pk, %pv, %_ = onnx.Attention %q, %k, %v, %none, %past_k, %past_v, %none {…}
    ==>
    %s1, %e = kvcache.append %s0, %k, %v, %positions, %sequences, %active, %status
    %y, %lse = sparsity.attend %q, %s1, %positions, %sequences {scale = 0.125 : f32}
    ```
  }];
  let options = [
    Option<"prefillChunk", "prefill-chunk", "int64_t", "128", "Rows of the prefill entry">,
    Option<"logitsRows", "logits-rows", "int64_t", "16", "Rows of the logits entry">,
    ListOption<"buckets", "buckets", "int64_t", "Batch sizes of the decode entries (default 1,2,4,8)">,
    Option<"maxContext", "max-context", "int64_t", "0", "Longest sequence; 0: the model's position table">,
    Option<"page", "page", "int64_t", "16", "Slots of a page where no policy asks for another length">,
    Option<"kvType", "kv-dtype", "std::string", "\"f32\"", "Element type of the cache: f32 or bf16">,
  ];
  let dependentDialects = ["::sparse::kvcache::KVCacheDialect", "::sparse::sparsity::SparsityDialect",
                           "::sparse::onnx::ONNXDialect", "::mlir::func::FuncDialect"];
}

//===-- fuse ------------------------------------------------------------------------------------------------------===//

def FusePass : Pass<"sparse-fuse", "::mlir::ModuleOp"> {
  let summary = "Group the ops of every entry into kernels and pack the weights";
  let description = [{
    Every op that moves much data becomes a `plan.kernel`; elementwise ops join the linear layer that feeds them
    (activation, gate product, residual). Weights of linear layers become packed recipes, shared by digest of the recipe.
  }];
  let options = [
    Option<"weightsType", "weights-dtype", "std::string", "\"f32\"", "Element type of packed weights: f32 or bf16">,
    Option<"panel", "panel", "int64_t", "64", "Widest panel of a packed weight">,
  ];
  let dependentDialects = ["::sparse::plan::PlanDialect", "::sparse::sparsity::SparsityDialect",
                           "::sparse::onnx::ONNXDialect"];
}

//===-- linalg ----------------------------------------------------------------------------------------------------===//

def ConvertToLinalgPass : Pass<"sparse-convert-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Lower the bodies of all kernels to linalg on tensors";
  let description = [{
    A layer becomes one tensor per component. The result is the meaning of every op: `sparsity.attend` loops over pages,
    does linalg on the tile and merges by online softmax; cache updates are loops over scalars, in place. Kernels that
    only compute are parallel by one top-level `scf.forall`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::sparse::plan::PlanDialect"];
}

#endif
