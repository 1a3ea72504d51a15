// Passes of the road, phase by phase.
#ifndef SPARSE_PASSES_PASSES_TD
#define SPARSE_PASSES_PASSES_TD

include "mlir/Pass/PassBase.td"

//===-- raise: the importer's graph to canonical form -------------------------------------------------------------===//

def OnnxFoldConstantsPass : Pass<"onnx-fold-constants", "::mlir::ModuleOp"> {
  let summary = "Fold constants and shapes, remove operators that do nothing";
  let description = [{
    Runs the function under several concrete inputs. A small integer, boolean or scalar result that is the same in all
    of them becomes an `onnx.Constant`; a Reshape, Transpose, Cast, Expand, … that yields the elements and the shape of
    a value before it becomes that value. Dead operators are erased. Vectors and matrices of floats are left alone:
    they are weights, and stay symbols.

    ```mlir
    %s = onnx.Shape %past : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
    %h = onnx.Gather %s, %one : (tensor<4xi64>, tensor<i64>) -> tensor<i64>
    ==>
    %h = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
    ```
  }];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxRaiseLinearPass : Pass<"onnx-raise-linear", "::mlir::ModuleOp"> {
  let summary = "Make every linear layer a MatMul with a weight symbol of shape [K, N]";
  let description = [{
    Transpose, Reshape, Slice, Split, Cast and Concat of weights become recipes (`onnx.derived`); one initializer used
    twice stays one initializer. Gemm becomes MatMul and Add; a product over flattened rows becomes one over
    [batch, sequence]. Products of two activations are left alone.

    ```mlir
    %w = onnx.weight @embed : tensor<320x64xf32>
    %t = onnx.Transpose %w {perm = array<i64: 1, 0>} : (tensor<320x64xf32>) -> tensor<64x320xf32>
    ==>
    onnx.derived @embed.t from [@embed] steps [#onnx.transpose<[1, 0]>] : tensor<64x320xf32>
    %t = onnx.weight @embed.t : tensor<64x320xf32>
    ```
  }];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxRaiseActivationPass : Pass<"onnx-raise-activation", "::mlir::ModuleOp"> {
  let summary = "Recognise SiLU and GELU";
  let description = [{
    `x * Sigmoid(x)` becomes Swish, `x * Sigmoid(c * x)` Swish with alpha, and the erf and tanh forms of GELU become Gelu.

    ```mlir
    %s = onnx.Sigmoid %x
    %y = onnx.Mul %x, %s
    ==>
    %y = onnx.Swish %x
    ```
  }];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxRaiseRMSNormPass : Pass<"onnx-raise-rms-norm", "::mlir::ModuleOp"> {
  let summary = "Recognise RMS normalisation";
  let description = [{
    `x / sqrt(mean(x^2) + eps) * weight` over the last axis, in any order and with any casts that f32 makes void, becomes
    RMSNormalization. SimplifiedLayerNormalization is the same op by another name; SkipSimplifiedLayerNormalization
    becomes Add and RMSNormalization. A mean over another axis is left alone.

    ```mlir
    %m = onnx.ReduceMean (onnx.Pow %x, 2), -1
    %y = onnx.Mul %weight, (onnx.Mul %x, (onnx.Reciprocal (onnx.Sqrt (onnx.Add %m, %eps))))
    ==>
    %y = onnx.RMSNormalization %x, %weight {axis = -1 : i64, epsilon = …}
    ```
  }];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxRaiseRotaryPass : Pass<"onnx-raise-rotary", "::mlir::ModuleOp"> {
  let summary = "Recognise rotary position embedding";
  let description = [{
    `x * cos + rotate_half(x) * sin`, and RotaryEmbedding over gathered or computed cosines, become RotaryEmbedding on
    [batch, sequence, heads * dim] with cosine and sine tables and position_ids. When the graph gathers rows of table
    weights, these are the tables; when it computes the values, they are checked, position by position, against
    scale * cos(position * inv_freq), and tables of `max-context` rows are derived. Values that no table gives (a
    scaling that depends on the length) are an error. Rotations of pairs (interleaved) are left alone.

    ```mlir
    %r = onnx.Add (onnx.Mul %x, %cos), (onnx.Mul (onnx.Concat (onnx.Neg %x2), %x1), %sin)    4-D
    ==>
    onnx.derived @rope.cos from [] steps [#onnx.rope_table<fn = cos, inv_freq = [...], scale = 1.0 : f32>] : tensor<8192x8xf32>
    %r3 = onnx.RotaryEmbedding %x3, %cos, %sin, %position_ids {num_heads = 4 : i64}          3-D, then views to 4-D
    ```
  }];
  let options = [
    Option<"maxContext", "max-context", "int64_t", "8192", "rows of the derived tables">,
  ];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxRaiseAttentionPass : Pass<"onnx-raise-attention", "::mlir::ModuleOp"> {
  let summary = "Recognise scaled dot-product attention with its cache and its mask";
  let description = [{
    From each Softmax over scores, and each Attention, finds queries, keys, values, scale, softcap and mask; keys and
    values must be a Concat of a past argument and new rows, repeated to the query heads in groups (head h reads KV
    head h / G). The mask is evaluated under several sizes, with and without padding, and must be causal from the end
    of the past, optionally within a window, optionally without padding. Result: Attention on [batch, sequence, width]
    with past and present, `is_causal = 1` and no mask. Any other mask is an error that names the node.

    ```mlir
    %p = onnx.Softmax (onnx.Add (onnx.MatMul %q, %kT), %mask);  %y = onnx.MatMul %p, %v
    ==>
    %y3, %pk, %pv, %_ = onnx.Attention %q3, %k3, %v3, %none, %past_k, %past_v, %none {is_causal = 1 : i64, …}
    ```
  }];
  let options = [
    Option<"maxContext", "max-context", "int64_t", "8192", "longest context that masks are checked for">,
  ];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxInferTypesPass : Pass<"onnx-infer-types", "::mlir::ModuleOp"> {
  let summary = "Give every value the ranked type that its evaluations agree on";
  let description = [{
    An extent that is the same under all inputs is static, any other is `?`.

    ```mlir
    %y = onnx.MatMul %x, %w : (tensor<?x?x64xf32>, tensor<64x128xf32>) -> tensor<*xf32>
    ==>
    %y = onnx.MatMul %x, %w : (tensor<?x?x64xf32>, tensor<64x128xf32>) -> tensor<?x?x128xf32>
    ```
  }];
}

def OnnxCanonicalInterfacePass : Pass<"onnx-canonical-interface", "::mlir::ModuleOp"> {
  let summary = "Give @main the canonical arguments, results and types";
  let description = [{
    Arguments become input_ids, position_ids, then past key and value of each layer in program order; results become
    logits, then present key and value of each layer. Caches are paired with layers by dataflow, whatever their names.
    The attention mask goes; position_ids comes when the graph counts positions itself. Every value gets its ranked type.
    Weights that nothing reads are erased.

    ```mlir
    func.func @main(%ids, %attention_mask, %pv: …, %pk: …) -> (…)
    ==>
    func.func @main(%input_ids: tensor<?x?xi64>, %position_ids: tensor<?x?xi64>, %pk: tensor<?x2x?x16xf32>, …) -> (…)
    ```
  }];
  let dependentDialects = ["::sparse::onnx::ONNXDialect"];
}

def OnnxAttachSitesPass : Pass<"onnx-attach-sites", "::mlir::ModuleOp"> {
  let summary = "Say what each op is in the model";
  let description = [{
    Sets `sparsity.site` by dataflow: attentions count the layers; projections are found from their attention, gate, up
    and down from the product between them; embedding, final norm and head are outside the layers (-1).

    ```mlir
    %y = onnx.Attention … {sparsity.site = #sparsity.site<layer = 0, part = attention>}
    ```
  }];
  let dependentDialects = ["::sparse::onnx::ONNXDialect", "::sparse::sparsity::SparsityDialect"];
}

def OnnxCheckRaisedPass : Pass<"onnx-check-raised", "::mlir::ModuleOp"> {
  let summary = "Fail, with every reason at once, when the module is not in canonical form";
  let description = [{
    One error for each kind of node outside the canonical set, at the first of them, with the names of the others; one
    error for each canonical op in a form that later phases don't take. Changes nothing.
  }];
}

//===-- mark ------------------------------------------------------------------------------------------------------===//

def MarkPass : Pass<"sparse-mark", "::mlir::ModuleOp"> {
  let summary = "Put the policies of a policy file on their sites";
  let description = [{
    Rules of `policy-file`, then of `attention` and `kv` (`[layers:]method[:parameter=value,...]`), become
    `sparsity.selection` and `sparsity.kv` on the attentions of the canonical `@main`; layers count them in program
    order, later rules win per layer and key, and what no rule names stays. A policy that can't govern its layer, alone
    or beside another, is an error at the attention with notes at the rules. `sparsity.policy` of the module is the
    policy as applied, with every default written out; empty when all layers are dense.

    ```mlir
    %y, %pk, %pv, %_ = onnx.Attention %q, %k, %v, %none, %past_k, %past_v, %none {…}
    ==>
    … {sparsity.selection = #sparsity.page_topk<{budget = 2048 : i64, page = 16 : i64, …}>}
    ```
  }];
  let options = [
    Option<"policyFile", "policy-file", "std::string", "\"\"", "The policy file (YAML); - is standard input">,
    ListOption<"attention", "attention", "std::string", "Rules for 'attention', inline">,
    ListOption<"kv", "kv", "std::string", "Rules for 'kv', inline">,
    Option<"report", "report", "bool", "false", "A remark at each attention: what governs it">,
    Option<"maxContext", "max-context", "int64_t", "0", "As in sparse-stateful">,
    Option<"prefillChunk", "prefill-chunk", "int64_t", "128", "As in sparse-stateful">,
    Option<"page", "page", "int64_t", "16", "As in sparse-stateful">,
    Option<"kvType", "kv-dtype", "std::string", "\"f32\"", "As in sparse-stateful">,
  ];
  let dependentDialects = ["::sparse::sparsity::SparsityDialect", "::sparse::onnx::ONNXDialect"];
}

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
    Option<"oneLaunch", "one-launch", "bool", "true",
           "On a GPU: selection, attention and its combination as one kernel where the device can">,
    Option<"weightsType", "weights-dtype", "std::string", "\"f32\"", "Element type of packed weights: f32 or bf16">,
    Option<"panel", "panel", "int64_t", "64", "Widest panel of a packed weight">,
    Option<"segment", "segment", "int64_t", "16", "Least pages of one segment of decode attention">,
    Option<"batchInvariant", "batch-invariant", "bool", "false",
           "On a GPU: split the lists of every bucket as those of one sequence">,
  ];
  let dependentDialects = ["::sparse::plan::PlanDialect", "::sparse::sparsity::SparsityDialect",
                           "::sparse::onnx::ONNXDialect", "::mlir::tensor::TensorDialect"];
}

def ApplySchedulePass : Pass<"sparse-apply-schedule", "::mlir::ModuleOp"> {
  let summary = "Pin the strategies of kernels that a schedule file names";
  let description = [{
    Rules of a YAML file, later ones win; `entry` and `kernel` stand for all when absent. What a strategy can't lower, the
    pass that sets the other strategies refuses.

    ```yaml
    version: 1
    kernels:
      - {kernel: attend_part, strategy: simt}
      - {entry: decode_b1, kernel: linear, strategy: vector, tiles: [1]}
    ```
  }];
  let options = [
    Option<"file", "file", "std::string", "\"\"", "The schedule; none: nothing is pinned">,
  ];
  let dependentDialects = ["::sparse::sparsity::SparsityDialect"];
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

//===-- kernels ---------------------------------------------------------------------------------------------------===//

def SetStrategyPass : Pass<"sparse-set-strategy", "::mlir::ModuleOp"> {
  let summary = "Choose the lowering of every kernel";
  let description = [{
    Sets `lowering_config` on each `plan.kernel` that has none, from the static shapes of its operands. What is there
    already wins: tests and users pin strategies in the IR.
  }];
  let options = [
    Option<"reference", "reference", "bool", "false", "Keep the scalar loops of the linalg lowering everywhere">,
  ];
  let dependentDialects = ["::sparse::sparsity::SparsityDialect"];
}

def FormKernelsPass : Pass<"sparse-form-kernels", "::mlir::ModuleOp"> {
  let summary = "Turn entries into plans and kernel regions into functions on buffers";
  let description = [{
    Every distinct kernel becomes one `func.func` over memrefs and a task index; its top-level `scf.forall` becomes the
    grid, or its loop marked `plan.tasks`, whose iterations change different parts of what it carries. Entries become
    `plan.entry`: state and weights by name, values between kernels at offsets of one arena, reused when they are dead.
  }];
  let dependentDialects = ["::mlir::bufferization::BufferizationDialect", "::mlir::func::FuncDialect",
                           "::mlir::affine::AffineDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::tensor::TensorDialect", "::sparse::plan::PlanDialect"];
}

def VectorizeKernelsPass : Pass<"sparse-vectorize-kernels", "::mlir::ModuleOp"> {
  let summary = "Turn the linalg tiles of kernels into vectors";
  let description = [{
    For kernels whose `lowering_config` says `vector`: contractions become register tiles, other small static ops go
    through the upstream vectorizer. Kernels with another strategy, large ops and reads of single elements are left
    alone. NUMERIC: the sums of narrow contractions are taken in up to four interleaved parts, their products fused with
    the addition where the target can (`llvm.intr.fmuladd`); nothing else is fused.
  }];
  let dependentDialects = ["::mlir::vector::VectorDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::LLVM::LLVMDialect"];
}

def LowerVectorsPass : Pass<"sparse-lower-vectors", "::mlir::func::FuncOp"> {
  let summary = "Lower vector ops and functions that LLVM has no form for";
  let description = [{
    Multi-dimensional reductions, broadcasts and transposes become one-dimensional; exp, tanh, erf and log become
    polynomials. Only in kernels whose strategy is `vector`; others call libm.
  }];
  let dependentDialects = ["::mlir::vector::VectorDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def StackBuffersPass : Pass<"sparse-stack-buffers", "::mlir::func::FuncOp"> {
  let summary = "Move the static temporaries of a kernel to its stack frame";
  let description = [{
    A `memref.alloc` of static shape that does not leave its block through a terminator becomes a `memref.alloca` at the
    start of the function. Any other allocation is an error: kernels do not allocate. Copies become linalg.copy.
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect", "::mlir::linalg::LinalgDialect"];
}

def RecordBuffersPass : Pass<"sparse-record-buffers", "::mlir::ModuleOp"> {
  let summary = "Keep the memref types of a kernel's arguments as an attribute";
  let description = [{The conversion to the llvm dialect takes them apart; `sparse-wrap-kernels` needs them.}];
}

def WrapKernelsPass : Pass<"sparse-wrap-kernels", "::mlir::ModuleOp"> {
  let summary = "Give kernels the packed-argument ABI";
  let description = [{
    `llvm.func @k(%args: !llvm.ptr, %task: i64)` loads the buffer pointers and calls the kernel, which becomes internal
    (docs/architecture.md §5).
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

//===-- kernels and llvm on a GPU ---------------------------------------------------------------------------------===//

def SetDeviceStrategyPass : Pass<"sparse-set-device-strategy", "::mlir::ModuleOp"> {
  let summary = "Choose the lowering of every kernel on a GPU";
  let description = [{
    Sets `lowering_config` on each `plan.kernel` that has none: `library` for the linear layers of a prompt, else the first
    template of passes/ToGPU/Templates that can emit the kernel for `sparsity.target`, else `reference`. What the IR pins
    stays, and is an error when no such template can emit it.
  }];
  let options = [
    Option<"reference", "reference", "bool", "false", "Keep the linalg lowering everywhere, one task a thread">,
  ];
  let dependentDialects = ["::sparse::sparsity::SparsityDialect"];
}

def EmitDeviceKernelsPass : Pass<"sparse-emit-device-kernels", "::mlir::ModuleOp"> {
  let summary = "Emit the kernels that have a template, and size every launch";
  let description = [{
    A `func.func` of `sparse-form-kernels` whose strategy is a template becomes a `gpu.func` of `gpu.module @device`: one
    pointer per buffer, the op of the region emitted block by block. Launches get their `#plan.geometry`.

    ```mlir
    func.func @linear_0(%x: memref<1x64xf32>, %w: memref<128x64x1xf32>, %y: memref<1x128xf32>, %task: index) {
      … sparsity.linear … }
    ==>
    gpu.func @linear_0(%x: !llvm.ptr<1>, %w: !llvm.ptr<1>, %y: !llvm.ptr<1>) kernel { … }
    ```
  }];
  let dependentDialects = ["::mlir::gpu::GPUDialect", "::mlir::NVVM::NVVMDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def ExpandMathPass : Pass<"sparse-expand-math"> {
  let summary = "Replace exp, tanh, erf and log by polynomials";
  let description = [{
    Scalars and vectors of f32. A GPU has no instruction for them, and the vendor's library of such functions is not
    linked.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

def WrapDeviceKernelsPass : Pass<"sparse-wrap-device-kernels", "::mlir::ModuleOp"> {
  let summary = "Make GPU kernels of the reference kernels";
  let description = [{
    The body of a reference kernel moves into `gpu.module @device`; the kernel of its name takes one pointer per buffer and
    calls it for the task of its thread.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::gpu::GPUDialect"];
}

#endif
