//===-- ONNX.cpp - The onnx dialect -------------------------------------------------------------------------------===//
#include "dialects/ONNX/ONNX.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace sparse::onnx;

/// `[a, b, …]`, each f32 with the nine digits that tell it from every other.
static void printExactFloats(AsmPrinter &printer, DenseF32ArrayAttr values) {
  printer << "[";
  llvm::interleaveComma(values.asArrayRef(), printer.getStream(),
                        [&](float value) { printer.getStream() << llvm::format("%.8e", value); });
  printer << "]";
}

static ParseResult parseExactFloats(AsmParser &parser, DenseF32ArrayAttr &values) {
  SmallVector<float> parsed;
  auto one = [&]() -> ParseResult {
    double value;
    if (parser.parseFloat(value))
      return failure();
    parsed.push_back(static_cast<float>(value));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, one))
    return failure();
  values = DenseF32ArrayAttr::get(parser.getContext(), parsed);
  return success();
}

#include "dialects/ONNX/ONNXDialect.cpp.inc"
#include "dialects/ONNX/ONNXEnums.cpp.inc"
#include "dialects/ONNX/ONNXInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/ONNX/ONNXAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/ONNX/ONNXOps.cpp.inc"


void sparse::onnx::ONNXDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/ONNX/ONNXAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/ONNX/ONNXOps.cpp.inc"
      >();
}

//===-- Element types ---------------------------------------------------------------------------------------------===//

Type sparse::onnx::elementTypeOfOnnx(MLIRContext *context, int64_t dataType) {
  Builder b(context);
  switch (dataType) {
  case 1: return b.getF32Type();
  case 2: return b.getIntegerType(8, /*isSigned=*/false);
  case 3: return b.getI8Type();
  case 4: return b.getIntegerType(16, /*isSigned=*/false);
  case 5: return b.getI16Type();
  case 6: return b.getI32Type();
  case 7: return b.getI64Type();
  case 9: return b.getI1Type();
  case 10: return b.getF16Type();
  case 11: return b.getF64Type();
  case 12: return b.getIntegerType(32, /*isSigned=*/false);
  case 13: return b.getIntegerType(64, /*isSigned=*/false);
  case 16: return b.getBF16Type();
  default: return {};
  }
}

int64_t sparse::onnx::onnxOfElementType(Type type) {
  for (int64_t code : {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16})
    if (elementTypeOfOnnx(type.getContext(), code) == type)
      return code;
  return 0;
}

Type sparse::onnx::detail::elementTypeOf(TypeRange operands, unsigned index) {
  if (index >= operands.size())
    return {};
  auto tensor = dyn_cast<TensorType>(operands[index]);
  return tensor ? tensor.getElementType() : Type();
}

Type sparse::onnx::detail::boolType(TypeRange operands) {
  return operands.empty() ? Type() : Type(IntegerType::get(operands[0].getContext(), 1));
}

Type sparse::onnx::detail::i64Type(TypeRange operands, DictionaryAttr) {
  return operands.empty() ? Type() : Type(IntegerType::get(operands[0].getContext(), 64));
}

Type sparse::onnx::detail::typeOfOnnxEnum(DictionaryAttr attrs, StringRef name, TypeRange) {
  auto code = attrs ? attrs.getAs<IntegerAttr>(name) : IntegerAttr();
  return code ? elementTypeOfOnnx(attrs.getContext(), code.getInt()) : Type();
}

Type sparse::onnx::detail::constantElement(DictionaryAttr attrs) {
  if (!attrs)
    return {};
  if (auto value = attrs.getAs<ElementsAttr>("value"))
    return value.getElementType();
  return Float32Type::get(attrs.getContext());
}

//===-- Folders and verifiers -------------------------------------------------------------------------------------===//

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValueAttr(); }

LogicalResult RMSNormalizationOp::verify() {
  if (getEpsilon().convertToFloat() < 0)
    return emitOpError("epsilon is ") << getEpsilon().convertToFloat() << "; it must not be negative";
  return success();
}

LogicalResult RotaryEmbeddingOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getX().getType());
  if (!type)
    return success();
  // 2-D: rows of an entry, after `stateful`.
  if (type.getRank() <= 3 && getNumHeads() <= 0)
    return emitOpError("needs num_heads for an input without a head dimension");
  if (type.getRank() < 2 || type.getRank() > 4)
    return emitOpError("takes an input of 2 to 4 dimensions, not ") << type.getRank();
  return success();
}

LogicalResult AttentionOp::verify() {
  int64_t q = getQNumHeads(), kv = getKvNumHeads();
  auto type = dyn_cast<RankedTensorType>(getQ().getType());
  if (type && type.getRank() == 3 && (q <= 0 || kv <= 0))
    return emitOpError("needs q_num_heads and kv_num_heads for 3-D operands");
  if (q > 0 && kv > 0 && q % kv != 0)
    return emitOpError("has ") << q << " query heads, which " << kv << " KV heads do not divide";
  if (isa<NoneType>(getPastKey().getType()) != isa<NoneType>(getPastValue().getType()))
    return emitOpError("needs past_key and past_value together or neither");
  return success();
}

LogicalResult InitializerOp::verify() {
  if (getFile().has_value() == getValue().has_value())
    return emitOpError("takes either a file or a value");
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape())
    return emitOpError("needs a static shape, has ") << getType();
  if (getFile()) {
    if (!getOffset() || !getLength() || !type.getElementType().isIntOrFloat())
      return emitOpError("needs offset, length and an integer or float type with its file");
    unsigned bits = type.getElementType().isInteger(1) ? 8 : type.getElementTypeBitWidth();
    int64_t bytes = type.getNumElements() * bits / 8;
    if (*getLength() != static_cast<uint64_t>(bytes))
      return emitOpError("names ") << *getLength() << " bytes but its type holds " << bytes;
  } else if (cast<TypedAttr>(*getValue()).getType() != getType()) {
    return emitOpError("has a value of type ") << cast<TypedAttr>(*getValue()).getType();
  }
  return success();
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  Operation *symbol = symbolTable.lookupNearestSymbolFrom(*this, getSymbolAttr());
  Type type;
  if (auto initializer = dyn_cast_or_null<InitializerOp>(symbol))
    type = initializer.getType();
  else if (auto derived = dyn_cast_or_null<DerivedOp>(symbol))
    type = derived.getType();
  else
    return emitOpError("reads ") << getSymbolAttr() << ", which is no onnx.initializer or onnx.derived";
  if (type != getResult().getType())
    return emitOpError("reads ") << getSymbolAttr() << " of type " << type;
  return success();
}

FlatSymbolRefAttr sparse::onnx::weightSymbolOf(Value value) {
  auto weight = value.getDefiningOp<WeightOp>();
  return weight ? weight.getSymbolAttr() : FlatSymbolRefAttr();
}
