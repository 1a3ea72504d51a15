//===-- ONNX.h - The onnx dialect ------------------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_DIALECTS_ONNX_ONNX_H
#define SPARSE_DIALECTS_ONNX_ONNX_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace sparse::onnx {
/// MLIR element type of an ONNX TensorProto.DataType (1 = f32, 7 = i64, 9 = bool as i1, 16 = bf16, …); null when this
/// compiler has no type for it.
mlir::Type elementTypeOfOnnx(mlir::MLIRContext *context, int64_t dataType);
/// The inverse; 0 (UNDEFINED) when there is none.
int64_t onnxOfElementType(mlir::Type type);

namespace detail {
mlir::Type elementTypeOf(mlir::TypeRange operands, unsigned index);
mlir::Type boolType(mlir::TypeRange operands);
mlir::Type i64Type(mlir::TypeRange operands, mlir::DictionaryAttr attrs);
mlir::Type typeOfOnnxEnum(mlir::DictionaryAttr attrs, llvm::StringRef name, mlir::TypeRange operands);
mlir::Type constantElement(mlir::DictionaryAttr attrs);
} // namespace detail
} // namespace sparse::onnx

#include "dialects/ONNX/ONNXDialect.h.inc"
#include "dialects/ONNX/ONNXEnums.h.inc"
#include "dialects/ONNX/ONNXInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/ONNX/ONNXAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/ONNX/ONNXOps.h.inc"

namespace sparse::onnx {
/// The symbol that `value` reads, looking only at its defining op; null when it is no `onnx.weight`.
mlir::FlatSymbolRefAttr weightSymbolOf(mlir::Value value);
} // namespace sparse::onnx

#endif
