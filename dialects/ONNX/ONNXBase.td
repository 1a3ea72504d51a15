// The onnx dialect: what the importer produces and what `raise` normalises to.
#ifndef SPARSE_DIALECTS_ONNX_ONNXBASE_TD
#define SPARSE_DIALECTS_ONNX_ONNXBASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def ONNX_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::sparse::onnx";
  let summary = "ONNX operators of decoder models, and their weights as symbols";
  let description = [{
    One op per ONNX operator of the large-language-model subset, named as ONNX names it (`onnx.MatMul`,
    `onnx.Attention`). Operands stand in the order of the ONNX specification; an absent optional operand is the value
    of `onnx.NoValue`. Attributes carry their ONNX names. Any other operator is an `onnx.node`.

    Weights are symbols: `onnx.initializer` names bytes of a file, `onnx.derived` is a recipe on top of other
    symbols, and `onnx.weight` reads one. Data moves only when the artifact is written.
  }];
  let useDefaultAttributePrinterParser = 1;
}

def ONNX_Tensor : Type<CPred<"::llvm::isa<::mlir::TensorType>($_self)">, "tensor">;
def ONNX_OptTensor
    : Type<CPred<"::llvm::isa<::mlir::TensorType, ::mlir::NoneType>($_self)">, "tensor or none">;

def ONNX_OpInterface : OpInterface<"OnnxOpInterface"> {
  let cppNamespace = "::sparse::onnx";
  let description = [{Facts about an ONNX operator that the importer needs before the op exists.}];
  let methods = [
    StaticInterfaceMethod<[{Number of operands; the importer pads absent ones. -1: any number.}],
      "int", "getOnnxOperandCount", (ins)>,
    StaticInterfaceMethod<[{Number of results; the importer adds unused ones. -1: any number.}],
      "int", "getOnnxResultCount", (ins)>,
    StaticInterfaceMethod<[{
        Element type of result `index` for operands of these types and these attributes; null when it can't be told.
      }],
      "::mlir::Type", "inferElementType",
      (ins "unsigned":$index, "::mlir::TypeRange":$operands, "::mlir::DictionaryAttr":$attrs)>,
  ];
}

// Element type rules, as C++ expressions over `index`, `operands`, `attrs`.
defvar ElementOfFirst = "elementTypeOf(operands, 0)";
defvar ElementIsBool = "boolType(operands)";
defvar ElementIsI64 = "i64Type(operands, attrs)";
defvar ElementFromTo = "typeOfOnnxEnum(attrs, \"to\", operands)";

/// One ONNX operator. `ops` are its operands, `attributes` its attributes, `res` its results.
class ONNX_Op<string mnemonic, dag ops, dag attributes, dag res, string what,
              string elementRule = ElementOfFirst, list<Trait> traits = []>
    : Op<ONNX_Dialect, mnemonic, !listconcat([ONNX_OpInterface], traits)> {
  let summary = what;
  let arguments = !con(ops, attributes);
  let results = res;
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  code countMethods = [{
    static int getOnnxOperandCount() { return }] # !size(ops) # [{; }
    static int getOnnxResultCount() { return }] # !size(res) # [{; }
  }];
  code elementMethod = [{
    static ::mlir::Type inferElementType(unsigned index, ::mlir::TypeRange operands, ::mlir::DictionaryAttr attrs) {
      using namespace ::sparse::onnx::detail;
      return }] # elementRule # [{;
    }
  }];
  let extraClassDeclaration = countMethods # elementMethod;
}

/// The same for operators with one variadic operand list.
class ONNX_VariadicOp<string mnemonic, dag attributes, dag res, string what,
                      string elementRule = ElementOfFirst, list<Trait> traits = []>
    : ONNX_Op<mnemonic, (ins Variadic<ONNX_OptTensor>:$inputs), attributes, res, what, elementRule, traits> {
  let extraClassDeclaration = [{
    static int getOnnxOperandCount() { return -1; }
    static int getOnnxResultCount() { return }] # !size(res) # [{; }
  }] # elementMethod;
}

#endif
