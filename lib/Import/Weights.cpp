//===-- Weights.cpp - Tensors of the file as symbols and constants ------------------------------------------------===//
#include "lib/Import/Weights.h"
#include "dialects/ONNX/ONNX.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace sparse::import;

Weights::Weights(const OnnxFile &file, const Source &source, const ImportOptions &options, ModuleOp module)
    : source(source), options(options), external(source.path(), options), locator(file), module(module) {
  symbols.insert("main");
}

void Weights::enter(func::FuncOp target) { function = target; }

OpBuilder Weights::top() {
  OpBuilder builder(function.getContext());
  if (lastAtTop)
    builder.setInsertionPointAfter(lastAtTop);
  else
    builder.setInsertionPointToStart(&function.getBody().front());
  return builder;
}

Value Weights::placed(Operation *op) {
  lastAtTop = op;
  return op->getResult(0);
}

Value Weights::noValue() {
  if (!absent) {
    OpBuilder builder = top();
    absent = placed(onnx::NoValueOp::create(builder, source.whole(), builder.getNoneType()));
  }
  return absent;
}

FailureOr<TensorInfo> Weights::inspect(const proto::TensorProto &tensor, Location loc) {
  FailureOr<TensorInfo> info = inspectTensor(tensor, options.limits, loc);
  if (failed(info))
    return failure();
  if (info->external && failed(external.resolve(tensor, info->bytes, loc)))
    return failure();
  totalBytes += info->bytes; // cannot wrap: each is below the limit, and so is their number
  if (totalBytes > options.limits.tensorBytes)
    return emitError(loc) << "brings the size of all tensors above " << options.limits.tensorBytes << " bytes";
  return info;
}

FailureOr<std::string> Weights::bytesOf(const proto::TensorProto &tensor, const TensorInfo &info, Location loc) {
  if (!info.external)
    return payloadOf(tensor, info, loc);
  FailureOr<ExternalPiece> piece = external.resolve(tensor, info.bytes, loc);
  if (failed(piece))
    return failure();
  return external.read(*piece, loc);
}

/// `name` with everything replaced that would need quotes in MLIR text, made unique.
std::string Weights::symbolFor(StringRef name) {
  std::string base;
  for (char c : name)
    base += llvm::isAlnum(c) || c == '_' || c == '.' || c == '$' ? c : '_';
  if (base.empty() || !(llvm::isAlpha(base[0]) || base[0] == '_'))
    base = "_" + base;
  std::string symbol = base;
  for (unsigned i = 1; !symbols.insert(symbol).second; ++i)
    symbol = base + "_" + std::to_string(i);
  return symbol;
}

FailureOr<Value> Weights::materialize(const proto::TensorProto &tensor, const TensorInfo &info, StringRef name,
                                      uint64_t inlineBytes, Location loc) {
  if (info.bytes <= inlineBytes) {
    FailureOr<std::string> bytes = bytesOf(tensor, info, loc);
    if (failed(bytes))
      return failure();
    OpBuilder builder = top();
    return placed(onnx::ConstantOp::create(builder, loc, info.type, elementsOf(info.type, *bytes)));
  }

  OpBuilder builder(module.getContext());
  if (lastSymbol)
    builder.setInsertionPointAfter(lastSymbol);
  else
    builder.setInsertionPointToStart(module.getBody());
  StringAttr file;
  IntegerAttr offset, length;
  ElementsAttr value;
  std::optional<uint64_t> place = locator.offsetOf(tensor);
  if (info.external || place) {
    ExternalPiece piece{source.path().str(), place.value_or(0), info.bytes};
    if (info.external) {
      FailureOr<ExternalPiece> found = external.resolve(tensor, info.bytes, loc);
      if (failed(found))
        return failure();
      piece = *found;
    }
    file = builder.getStringAttr(piece.path);
    offset = builder.getI64IntegerAttr(piece.offset);
    length = builder.getI64IntegerAttr(piece.length);
  } else {
    FailureOr<std::string> bytes = payloadOf(tensor, info, loc);
    if (failed(bytes))
      return failure();
    value = elementsOf(info.type, *bytes);
  }
  std::string symbol = symbolFor(name);
  auto op = onnx::InitializerOp::create(builder, loc, builder.getStringAttr(symbol), TypeAttr::get(info.type), file,
                                        offset, length, /*sha256=*/StringAttr(), value);
  op->setAttr("onnx.name", builder.getStringAttr(name));
  lastSymbol = op;
  OpBuilder inside = top();
  return placed(onnx::WeightOp::create(inside, loc, info.type, FlatSymbolRefAttr::get(inside.getContext(), symbol)));
}
