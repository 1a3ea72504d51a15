// Operators of the LLM subset. Semantics: the ONNX specification, with the choices of docs/architecture.md §2.
#ifndef SPARSE_DIALECTS_ONNX_ONNXOPS_TD
#define SPARSE_DIALECTS_ONNX_ONNXOPS_TD

include "dialects/ONNX/ONNXBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

defvar One = (outs ONNX_Tensor:$result);

//===-- Elementwise -----------------------------------------------------------------------------------------------===//

class ONNX_Unary<string mnemonic, string what, string rule = ElementOfFirst, dag attributes = (ins)>
    : ONNX_Op<mnemonic, (ins ONNX_Tensor:$input), attributes, One, what, rule, [Pure]>;
class ONNX_Binary<string mnemonic, string what, string rule = ElementOfFirst, dag attributes = (ins)>
    : ONNX_Op<mnemonic, (ins ONNX_Tensor:$lhs, ONNX_Tensor:$rhs), attributes, One, what, rule, [Pure]>;

def ONNX_AbsOp : ONNX_Unary<"Abs", "|x|">;
def ONNX_CeilOp : ONNX_Unary<"Ceil", "smallest integer not below x">;
def ONNX_CosOp : ONNX_Unary<"Cos", "cosine of x, in radians">;
def ONNX_ErfOp : ONNX_Unary<"Erf", "error function">;
def ONNX_ExpOp : ONNX_Unary<"Exp", "e to the x">;
def ONNX_FloorOp : ONNX_Unary<"Floor", "largest integer not above x">;
def ONNX_IdentityOp : ONNX_Unary<"Identity", "x itself">;
def ONNX_IsNaNOp : ONNX_Unary<"IsNaN", "whether x is not a number", ElementIsBool>;
def ONNX_IsInfOp : ONNX_Unary<"IsInf", "whether x is infinite", ElementIsBool,
  (ins DefaultValuedAttr<I64Attr, "1">:$detect_negative, DefaultValuedAttr<I64Attr, "1">:$detect_positive)>;
def ONNX_LogOp : ONNX_Unary<"Log", "natural logarithm">;
def ONNX_NegOp : ONNX_Unary<"Neg", "-x">;
def ONNX_NotOp : ONNX_Unary<"Not", "logical negation">;
def ONNX_ReciprocalOp : ONNX_Unary<"Reciprocal", "1 / x">;
def ONNX_ReluOp : ONNX_Unary<"Relu", "max(x, 0)">;
def ONNX_SigmoidOp : ONNX_Unary<"Sigmoid", "1 / (1 + exp(-x))">;
def ONNX_SinOp : ONNX_Unary<"Sin", "sine of x, in radians">;
def ONNX_SqrtOp : ONNX_Unary<"Sqrt", "square root">;
def ONNX_TanhOp : ONNX_Unary<"Tanh", "hyperbolic tangent">;
def ONNX_GeluOp : ONNX_Unary<"Gelu", "Gaussian error linear unit (opset 20)", ElementOfFirst,
  (ins DefaultValuedAttr<StrAttr, "\"none\"">:$approximate)>;
def ONNX_SwishOp : ONNX_Unary<"Swish", "x * sigmoid(alpha * x) (opset 24)", ElementOfFirst,
  (ins DefaultValuedAttr<F32Attr, "1.0f">:$alpha)>;
def ONNX_CastOp : ONNX_Unary<"Cast", "conversion to the ONNX data type `to`", ElementFromTo,
  (ins I64Attr:$to, DefaultValuedAttr<I64Attr, "1">:$saturate)>;
def ONNX_SoftmaxOp : ONNX_Unary<"Softmax", "softmax along `axis` (opset 13)", ElementOfFirst,
  (ins DefaultValuedAttr<I64Attr, "-1">:$axis)>;
def ONNX_TriluOp : ONNX_Op<"Trilu", (ins ONNX_Tensor:$input, ONNX_OptTensor:$k),
  (ins DefaultValuedAttr<I64Attr, "1">:$upper), One, "upper or lower triangle", ElementOfFirst, [Pure]>;

def ONNX_AddOp : ONNX_Binary<"Add", "a + b with broadcasting">;
def ONNX_AndOp : ONNX_Binary<"And", "logical and">;
def ONNX_DivOp : ONNX_Binary<"Div", "a / b with broadcasting; integers truncate">;
def ONNX_EqualOp : ONNX_Binary<"Equal", "a == b", ElementIsBool>;
def ONNX_GreaterOp : ONNX_Binary<"Greater", "a > b", ElementIsBool>;
def ONNX_GreaterOrEqualOp : ONNX_Binary<"GreaterOrEqual", "a >= b", ElementIsBool>;
def ONNX_LessOp : ONNX_Binary<"Less", "a < b", ElementIsBool>;
def ONNX_LessOrEqualOp : ONNX_Binary<"LessOrEqual", "a <= b", ElementIsBool>;
def ONNX_ModOp : ONNX_Binary<"Mod", "remainder with the sign of b, or of a when `fmod`", ElementOfFirst,
  (ins DefaultValuedAttr<I64Attr, "0">:$fmod)>;
def ONNX_MulOp : ONNX_Binary<"Mul", "a * b with broadcasting">;
def ONNX_OrOp : ONNX_Binary<"Or", "logical or">;
def ONNX_PowOp : ONNX_Binary<"Pow", "a to the power b">;
def ONNX_SubOp : ONNX_Binary<"Sub", "a - b with broadcasting">;
def ONNX_CastLikeOp : ONNX_Binary<"CastLike", "a converted to the element type of b", "elementTypeOf(operands, 1)",
  (ins DefaultValuedAttr<I64Attr, "1">:$saturate)>;
def ONNX_WhereOp : ONNX_Op<"Where", (ins ONNX_Tensor:$condition, ONNX_Tensor:$lhs, ONNX_Tensor:$rhs), (ins), One,
  "lhs where the condition holds, else rhs", "elementTypeOf(operands, 1)", [Pure]>;
def ONNX_MaxOp : ONNX_VariadicOp<"Max", (ins), One, "elementwise maximum", ElementOfFirst, [Pure]>;
def ONNX_MinOp : ONNX_VariadicOp<"Min", (ins), One, "elementwise minimum", ElementOfFirst, [Pure]>;

//===-- Shapes and data movement ----------------------------------------------------------------------------------===//

def ONNX_ConstantOp : ONNX_Op<"Constant", (ins), (ins ElementsAttr:$value), One,
  "a small constant tensor (scalars, shapes, axes); large ones are initializers",
  "constantElement(attrs)", [Pure, ConstantLike]> {
  let hasFolder = 1;
}
def ONNX_ConstantOfShapeOp : ONNX_Op<"ConstantOfShape", (ins ONNX_Tensor:$shape),
  (ins OptionalAttr<ElementsAttr>:$value), One, "a tensor of `shape` filled with `value` (f32 zero when absent)",
  "constantElement(attrs)", [Pure]>;
def ONNX_ShapeOp : ONNX_Unary<"Shape", "dimensions [start, end) of the input, as i64", ElementIsI64,
  (ins DefaultValuedAttr<I64Attr, "0">:$start, OptionalAttr<I64Attr>:$end)>;
def ONNX_SizeOp : ONNX_Unary<"Size", "number of elements, as i64", ElementIsI64>;
def ONNX_ReshapeOp : ONNX_Op<"Reshape", (ins ONNX_Tensor:$data, ONNX_Tensor:$shape),
  (ins DefaultValuedAttr<I64Attr, "0">:$allowzero), One,
  "the same elements in another shape; 0 copies a dimension, -1 is inferred", ElementOfFirst, [Pure]>;
def ONNX_TransposeOp : ONNX_Unary<"Transpose", "permuted dimensions; reversed when `perm` is absent", ElementOfFirst,
  (ins OptionalAttr<DenseI64ArrayAttr>:$perm)>;
def ONNX_FlattenOp : ONNX_Unary<"Flatten", "a matrix: dimensions before `axis`, and from it on", ElementOfFirst,
  (ins DefaultValuedAttr<I64Attr, "1">:$axis)>;
def ONNX_SqueezeOp : ONNX_Op<"Squeeze", (ins ONNX_Tensor:$data, ONNX_OptTensor:$axes), (ins), One,
  "dimensions of size one removed", ElementOfFirst, [Pure]>;
def ONNX_UnsqueezeOp : ONNX_Op<"Unsqueeze", (ins ONNX_Tensor:$data, ONNX_Tensor:$axes), (ins), One,
  "dimensions of size one inserted", ElementOfFirst, [Pure]>;
def ONNX_ExpandOp : ONNX_Op<"Expand", (ins ONNX_Tensor:$input, ONNX_Tensor:$shape), (ins), One,
  "broadcast to `shape`", ElementOfFirst, [Pure]>;
def ONNX_TileOp : ONNX_Op<"Tile", (ins ONNX_Tensor:$input, ONNX_Tensor:$repeats), (ins), One,
  "repeated along each axis", ElementOfFirst, [Pure]>;
def ONNX_ConcatOp : ONNX_VariadicOp<"Concat", (ins I64Attr:$axis), One, "tensors joined along `axis`",
  ElementOfFirst, [Pure]>;
def ONNX_SliceOp : ONNX_Op<"Slice",
  (ins ONNX_Tensor:$data, ONNX_Tensor:$starts, ONNX_Tensor:$ends, ONNX_OptTensor:$axes, ONNX_OptTensor:$steps),
  (ins), One, "a strided part (opset 10: bounds are operands)", ElementOfFirst, [Pure]>;
def ONNX_SplitOp : ONNX_Op<"Split", (ins ONNX_Tensor:$input, ONNX_OptTensor:$split),
  (ins DefaultValuedAttr<I64Attr, "0">:$axis, OptionalAttr<I64Attr>:$num_outputs),
  (outs Variadic<ONNX_Tensor>:$results), "parts along `axis`", ElementOfFirst, [Pure]> {
  let extraClassDeclaration = [{
    static int getOnnxOperandCount() { return 2; }
    static int getOnnxResultCount() { return -1; }
  }] # elementMethod;
}
def ONNX_GatherOp : ONNX_Op<"Gather", (ins ONNX_Tensor:$data, ONNX_Tensor:$indices),
  (ins DefaultValuedAttr<I64Attr, "0">:$axis), One, "entries of `data` along `axis`", ElementOfFirst, [Pure]>;
def ONNX_GatherElementsOp : ONNX_Op<"GatherElements", (ins ONNX_Tensor:$data, ONNX_Tensor:$indices),
  (ins DefaultValuedAttr<I64Attr, "0">:$axis), One, "elementwise gather along `axis`", ElementOfFirst, [Pure]>;
def ONNX_GatherNDOp : ONNX_Op<"GatherND", (ins ONNX_Tensor:$data, ONNX_Tensor:$indices),
  (ins DefaultValuedAttr<I64Attr, "0">:$batch_dims), One, "entries at index tuples", ElementOfFirst, [Pure]>;
def ONNX_ScatterNDOp : ONNX_Op<"ScatterND", (ins ONNX_Tensor:$data, ONNX_Tensor:$indices, ONNX_Tensor:$updates),
  (ins DefaultValuedAttr<StrAttr, "\"none\"">:$reduction), One, "data with entries at index tuples replaced",
  ElementOfFirst, [Pure]>;
def ONNX_RangeOp : ONNX_Op<"Range", (ins ONNX_Tensor:$start, ONNX_Tensor:$limit, ONNX_Tensor:$delta), (ins), One,
  "start, start + delta, … before limit", ElementOfFirst, [Pure]>;
def ONNX_CumSumOp : ONNX_Op<"CumSum", (ins ONNX_Tensor:$input, ONNX_Tensor:$axis),
  (ins DefaultValuedAttr<I64Attr, "0">:$exclusive, DefaultValuedAttr<I64Attr, "0">:$reverse), One,
  "running sum along an axis", ElementOfFirst, [Pure]>;
def ONNX_DropoutOp : ONNX_Op<"Dropout",
  (ins ONNX_Tensor:$data, ONNX_OptTensor:$ratio, ONNX_OptTensor:$training_mode),
  (ins OptionalAttr<I64Attr>:$seed), (outs ONNX_Tensor:$output, ONNX_OptTensor:$mask),
  "the input itself at inference", "index == 0 ? elementTypeOf(operands, 0) : boolType(operands)", [Pure]>;

//===-- Reductions ------------------------------------------------------------------------------------------------===//

class ONNX_Reduce<string mnemonic, string what>
    : ONNX_Op<mnemonic, (ins ONNX_Tensor:$data, ONNX_OptTensor:$axes),
        (ins DefaultValuedAttr<I64Attr, "1">:$keepdims, DefaultValuedAttr<I64Attr, "0">:$noop_with_empty_axes),
        One, what, ElementOfFirst, [Pure]>;
def ONNX_ReduceMeanOp : ONNX_Reduce<"ReduceMean", "mean over axes (opset 18: axes are an operand)">;
def ONNX_ReduceSumOp : ONNX_Reduce<"ReduceSum", "sum over axes">;
def ONNX_ReduceMaxOp : ONNX_Reduce<"ReduceMax", "maximum over axes">;
def ONNX_ReduceMinOp : ONNX_Reduce<"ReduceMin", "minimum over axes">;

//===-- Matrix products and normalisation -------------------------------------------------------------------------===//

def ONNX_MatMulOp : ONNX_Binary<"MatMul", "matrix product over the last two dimensions">;
def ONNX_GemmOp : ONNX_Op<"Gemm", (ins ONNX_Tensor:$A, ONNX_Tensor:$B, ONNX_OptTensor:$C),
  (ins DefaultValuedAttr<F32Attr, "1.0f">:$alpha, DefaultValuedAttr<F32Attr, "1.0f">:$beta,
       DefaultValuedAttr<I64Attr, "0">:$transA, DefaultValuedAttr<I64Attr, "0">:$transB),
  One, "alpha * A' * B' + beta * C", ElementOfFirst, [Pure]>;
def ONNX_RMSNormalizationOp : ONNX_Op<"RMSNormalization", (ins ONNX_Tensor:$X, ONNX_Tensor:$scale),
  (ins DefaultValuedAttr<I64Attr, "-1">:$axis, DefaultValuedAttr<F32Attr, "1e-5f">:$epsilon,
       DefaultValuedAttr<I64Attr, "1">:$stash_type),
  One, "x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` (opset 23)",
  "elementTypeOf(operands, 1)", [Pure]> {
  let hasVerifier = 1;
}
def ONNX_LayerNormalizationOp : ONNX_Op<"LayerNormalization",
  (ins ONNX_Tensor:$X, ONNX_Tensor:$Scale, ONNX_OptTensor:$B),
  (ins DefaultValuedAttr<I64Attr, "-1">:$axis, DefaultValuedAttr<F32Attr, "1e-5f">:$epsilon,
       DefaultValuedAttr<I64Attr, "1">:$stash_type),
  (outs ONNX_Tensor:$Y, ONNX_OptTensor:$Mean, ONNX_OptTensor:$InvStdDev),
  "(x - mean) / sqrt(var + epsilon) * scale + bias (opset 17)", ElementOfFirst, [Pure]>;
def ONNX_SimplifiedLayerNormalizationOp : ONNX_Op<"SimplifiedLayerNormalization",
  (ins ONNX_Tensor:$X, ONNX_Tensor:$scale),
  (ins DefaultValuedAttr<I64Attr, "-1">:$axis, DefaultValuedAttr<F32Attr, "1e-5f">:$epsilon,
       DefaultValuedAttr<I64Attr, "1">:$stash_type),
  (outs ONNX_Tensor:$Y, ONNX_OptTensor:$inv_std),
  "RMS normalisation as ONNX Runtime's exporters write it, in the default domain", ElementOfFirst, [Pure]>;
def ONNX_SkipSimplifiedLayerNormalizationOp : ONNX_Op<"SkipSimplifiedLayerNormalization",
  (ins ONNX_Tensor:$input, ONNX_Tensor:$skip, ONNX_Tensor:$gamma, ONNX_OptTensor:$bias),
  (ins DefaultValuedAttr<F32Attr, "1e-5f">:$epsilon),
  (outs ONNX_Tensor:$output, ONNX_OptTensor:$mean, ONNX_OptTensor:$inv_std, ONNX_OptTensor:$sum),
  "com.microsoft: s = input + skip (+ bias); result 0 is RMSNorm(s) * gamma, result 3 is s", ElementOfFirst, [Pure]>;

//===-- Attention -------------------------------------------------------------------------------------------------===//

def ONNX_RotaryEmbeddingOp : ONNX_Op<"RotaryEmbedding",
  (ins ONNX_Tensor:$X, ONNX_Tensor:$cos_cache, ONNX_Tensor:$sin_cache, ONNX_OptTensor:$position_ids),
  (ins DefaultValuedAttr<I64Attr, "0">:$interleaved, DefaultValuedAttr<I64Attr, "0">:$num_heads,
       DefaultValuedAttr<I64Attr, "0">:$rotary_embedding_dim),
  One, "rotary position embedding (opset 23)", ElementOfFirst, [Pure]> {
  let hasVerifier = 1;
}
def ONNX_AttentionOp : ONNX_Op<"Attention",
  (ins ONNX_Tensor:$Q, ONNX_Tensor:$K, ONNX_Tensor:$V, ONNX_OptTensor:$attn_mask, ONNX_OptTensor:$past_key,
       ONNX_OptTensor:$past_value, ONNX_OptTensor:$nonpad_kv_seqlen),
  (ins DefaultValuedAttr<I64Attr, "0">:$is_causal, DefaultValuedAttr<I64Attr, "0">:$q_num_heads,
       DefaultValuedAttr<I64Attr, "0">:$kv_num_heads, DefaultValuedAttr<I64Attr, "0">:$qk_matmul_output_mode,
       OptionalAttr<F32Attr>:$scale, DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
       OptionalAttr<I64Attr>:$softmax_precision, DefaultValuedAttr<I64Attr, "-1">:$left_window_size,
       DefaultValuedAttr<I64Attr, "-1">:$right_window_size),
  (outs ONNX_Tensor:$Y, ONNX_OptTensor:$present_key, ONNX_OptTensor:$present_value, ONNX_OptTensor:$qk_matmul_output),
  "scaled dot-product attention with grouped KV heads, past and present (opset 23–25)", ElementOfFirst, [Pure]> {
  let description = [{
    Query head h reads KV head h / (q_num_heads / kv_num_heads). Scores are scaled by `scale` (1 / sqrt(head dim) when
    absent), capped by `softcap` when non-zero, masked, and normalised in f32. `left_window_size = w` lets a query see
    itself and the w keys before it; -1 means no window. Spec: ONNX Attention-23, -24, -25.

    Example (canonical form, decode of a 4/2-head layer):
    ```mlir
    %y, %pk, %pv, %_ = onnx.Attention %q, %k, %v, %none, %past_k, %past_v, %none
        {is_causal = 1 : i64, q_num_heads = 4 : i64, kv_num_heads = 2 : i64} : (…) -> (…)
    ```
  }];
  let hasVerifier = 1;
}

//===-- Anything else, and structure ------------------------------------------------------------------------------===//

def ONNX_NoValueOp : Op<ONNX_Dialect, "NoValue", [Pure]> {
  let summary = "an absent optional operand";
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def ONNX_NodeOp : Op<ONNX_Dialect, "node", []> {
  let summary = "an ONNX operator outside the typed set";
  let description = [{
    Keeps the operator's type, domain and attributes (`onnx_attrs`), so that one report can name every unsupported
    node. `raise` fails while any is left.

    ```mlir
    %0 = onnx.node "Conv" domain "" (%x, %w) {onnx_attrs = {group = 1 : i64}} : (…) -> tensor<*xf32>
    ```
  }];
  let arguments = (ins StrAttr:$op_type, StrAttr:$domain, Variadic<ONNX_OptTensor>:$inputs,
                       DefaultValuedAttr<DictionaryAttr, "{}">:$onnx_attrs);
  let results = (outs Variadic<AnyType>:$outputs);
  let assemblyFormat = "$op_type `domain` $domain `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)";
}

//===-- Weights ---------------------------------------------------------------------------------------------------===//

def ONNX_InitializerOp : Op<ONNX_Dialect, "initializer", [Symbol]> {
  let summary = "a weight: bytes of a file, or a small inline constant";
  let description = [{
    Row-major little-endian data of type `type`: `length` bytes at `offset` of `file` (absolute path, or relative to the
    working directory of the compiler), or the elements of `value`. Exactly one of the two forms.

    ```mlir
    onnx.initializer @model.embed : tensor<49152x576xf32> file "model.onnx.data" offset 0 length 113246208
    onnx.initializer @scale : tensor<1xf32> value dense<1.0> : tensor<1xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<ONNX_Tensor>:$type, OptionalAttr<StrAttr>:$file,
                       OptionalAttr<I64Attr>:$offset, OptionalAttr<I64Attr>:$length, OptionalAttr<StrAttr>:$sha256,
                       OptionalAttr<ElementsAttr>:$value);
  let assemblyFormat = [{
    $sym_name `:` $type (`file` $file^ `offset` $offset `length` $length)? (`sha256` $sha256^)? (`value` $value^)?
    attr-dict
  }];
  let hasVerifier = 1;
}

def ONNX_DerivedOp : Op<ONNX_Dialect, "derived", [Symbol]> {
  let summary = "a weight made from other weights by a recipe";
  let description = [{
    Applies `steps` in order to the source weight. With no source the first step must produce data
    (`#onnx.rope_table`); with several the first step must be `#onnx.concat`.

    ```mlir
    onnx.derived @w.t from [@w] steps [#onnx.transpose<[1, 0]>] : tensor<576x1536xf32>
    onnx.derived @cos from [] steps [#onnx.rope_table<fn = cos, inv_freq = [1.0, …], scale = 1.0 : f32>]
      : tensor<8192x32xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, ArrayAttr:$sources, ArrayAttr:$steps,
                       TypeAttrOf<ONNX_Tensor>:$type);
  let assemblyFormat = "$sym_name `from` $sources `steps` $steps `:` $type attr-dict";
}

def ONNX_WeightOp : Op<ONNX_Dialect, "weight", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a weight symbol";
  let arguments = (ins FlatSymbolRefAttr:$symbol);
  let results = (outs ONNX_Tensor:$result);
  let assemblyFormat = "$symbol attr-dict `:` type($result)";
}

#endif
