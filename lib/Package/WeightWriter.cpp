//===-- WeightWriter.cpp - weights.safetensors of an artifact -----------------------------------------------------===//
#include "lib/Package/WeightWriter.h"
#include "dialects/Plan/Plan.h"
#include "lib/Package/HostWeight.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::package;

static StringRef safetensorsType(Type type) {
  if (type.isF32())
    return "F32";
  if (type.isBF16())
    return "BF16";
  if (type.isF16())
    return "F16";
  if (type.isInteger(32))
    return "I32";
  if (type.isInteger(64))
    return "I64";
  return type.isInteger(1) ? "BOOL" : "U8";
}

LogicalResult sparse::package::writeWeights(ModuleOp module, StringRef path,
                                            function_ref<void(uint64_t, uint64_t)> progress) {
  llvm::MapVector<StringAttr, MemRefType> weights;
  module.walk([&](plan::WeightOp op) {
    weights[op.getSymbolAttr().getAttr()] = cast<MemRefType>(op.getBuffer().getType());
  });
  auto bytesOf = [](MemRefType type) -> uint64_t {
    return type.getNumElements() * ((type.getElementTypeBitWidth() + 7) / 8);
  };
  auto order = weights.takeVector();
  llvm::stable_sort(order, [&](auto &a, auto &b) { return bytesOf(a.second) > bytesOf(b.second); });

  llvm::json::Object header;
  uint64_t offset = 0;
  for (auto &[symbol, type] : order) {
    uint64_t bytes = bytesOf(type);
    llvm::json::Array shape(llvm::map_range(type.getShape(), [](int64_t size) { return llvm::json::Value(size); }));
    header[symbol.getValue()] = llvm::json::Object{{"dtype", safetensorsType(type.getElementType())},
                                                   {"shape", std::move(shape)},
                                                   {"data_offsets", llvm::json::Array{offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = llvm::formatv("{0}", llvm::json::Value(std::move(header)));
  text.append(llvm::alignTo(text.size() + 8, 64) - 8 - text.size(), ' ');

  std::error_code code;
  llvm::raw_fd_ostream os(path, code, llvm::sys::fs::OF_None);
  if (code)
    return module.emitError() << "can't write '" << path << "': " << code.message();
  char length[8];
  llvm::support::endian::write64le(length, text.size());
  os.write(length, 8);
  os << text;
  WeightLoader loader(module);
  uint64_t done = 0;
  for (auto &[symbol, type] : order) {
    FailureOr<HostWeight> weight = loader.load(symbol);
    if (failed(weight))
      return failure();
    os.write(reinterpret_cast<const char *>(weight->data), weight->bytes());
    done += weight->bytes();
    progress(done, offset);
  }
  os.flush();
  if (os.has_error()) {
    std::string message = os.error().message();
    os.clear_error();
    return module.emitError() << "writing '" << path << "' failed: " << message;
  }
  return success();
}
