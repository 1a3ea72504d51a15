// Steps of a weight's recipe (`onnx.derived`).
#ifndef SPARSE_DIALECTS_ONNX_ONNXATTRS_TD
#define SPARSE_DIALECTS_ONNX_ONNXATTRS_TD

include "dialects/ONNX/ONNXBase.td"

class ONNX_Attr<string name, string mnem> : AttrDef<ONNX_Dialect, name> {
  let mnemonic = mnem;
}

def ONNX_TransposeStep : ONNX_Attr<"TransposeStep", "transpose"> {
  let summary = "permutes the dimensions";
  let parameters = (ins "::mlir::DenseI64ArrayAttr":$perm);
  let assemblyFormat = "`<` $perm `>`";
}

def ONNX_ReshapeStep : ONNX_Attr<"ReshapeStep", "reshape"> {
  let summary = "views the same row-major data in another static shape";
  let parameters = (ins "::mlir::DenseI64ArrayAttr":$shape);
  let assemblyFormat = "`<` $shape `>`";
}

def ONNX_SliceStep : ONNX_Attr<"SliceStep", "slice"> {
  let summary = "keeps `size` entries from `offset` on along `axis`";
  let parameters = (ins "int64_t":$axis, "int64_t":$offset, "int64_t":$size);
  let assemblyFormat = "`<` struct(params) `>`";
}

def ONNX_ConcatStep : ONNX_Attr<"ConcatStep", "concat"> {
  let summary = "joins the sources along `axis`";
  let parameters = (ins "int64_t":$axis);
  let assemblyFormat = "`<` struct(params) `>`";
}

def ONNX_CastStep : ONNX_Attr<"CastStep", "cast"> {
  let summary = "converts the element type, rounding to nearest even";
  let parameters = (ins "::mlir::Type":$to);
  let assemblyFormat = "`<` $to `>`";
}

def ONNX_PackStep : ONNX_Attr<"PackStep", "pack"> {
  let summary = "[K, N] to [ceil(N / panel)][K][panel], zero-padded: the layout of the decode GEMV and of oneDNN";
  let parameters = (ins "int64_t":$panel);
  let assemblyFormat = "`<` struct(params) `>`";
}

def ONNX_RopeFn : I32EnumAttr<"RopeFn", "which table", [
    I32EnumAttrCase<"Cos", 0, "cos">, I32EnumAttrCase<"Sin", 1, "sin">]> {
  let cppNamespace = "::sparse::onnx";
  let genSpecializedAttr = 0;
}

def ONNX_RopeTableStep : ONNX_Attr<"RopeTableStep", "rope_table"> {
  let summary = "table[p, i] = scale * fn(f32(p * inv_freq[i]))";
  let parameters = (ins EnumParameter<ONNX_RopeFn>:$fn, "::mlir::DenseF32ArrayAttr":$inv_freq, "::mlir::FloatAttr":$scale);
  // Frequencies print with all their digits: the array's own form keeps six.
  let assemblyFormat = "`<` struct($fn, custom<ExactFloats>($inv_freq), $scale) `>`";
}

#endif
