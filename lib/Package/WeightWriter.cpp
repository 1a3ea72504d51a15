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

namespace {
/// A weight to write and the module whose recipe makes it.
struct Wanted {
  StringAttr symbol;
  MemRefType type;
  size_t module, index;
  uint64_t bytes() const { return type.getNumElements() * ((type.getElementTypeBitWidth() + 7) / 8); }
};
} // namespace

/// Largest first.
static FailureOr<std::vector<Wanted>> collect(ArrayRef<ModuleOp> modules) {
  llvm::MapVector<StringRef, Wanted> weights;
  bool differ = false;
  for (size_t index = 0; index < modules.size(); ++index)
    ModuleOp(modules[index]).walk([&](plan::WeightOp op) {
      Wanted wanted{op.getSymbolAttr().getAttr(), cast<MemRefType>(op.getBuffer().getType()), index, weights.size()};
      auto [it, fresh] = weights.insert({wanted.symbol.getValue(), wanted});
      if (fresh || it->second.bytes() == wanted.bytes())
        return;
      op.emitError() << "weight '" << wanted.symbol.getValue() << "' has two sizes";
      differ = true;
    });
  if (differ)
    return failure();
  std::vector<Wanted> order;
  for (auto &entry : weights)
    order.push_back(entry.second);
  llvm::sort(order, [](const Wanted &a, const Wanted &b) {
    return std::make_tuple(b.bytes(), a.index) < std::make_tuple(a.bytes(), b.index);
  });
  return order;
}

LogicalResult sparse::package::writeWeights(ArrayRef<ModuleOp> modules, StringRef path,
                                            function_ref<void(uint64_t, uint64_t)> progress) {
  ModuleOp first = modules.front();
  FailureOr<std::vector<Wanted>> order = collect(modules);
  if (failed(order))
    return failure();
  llvm::json::Object header;
  uint64_t offset = 0;
  for (const Wanted &wanted : *order) {
    MemRefType type = wanted.type;
    llvm::json::Array shape(llvm::map_range(type.getShape(), [](int64_t size) { return llvm::json::Value(size); }));
    header[wanted.symbol.getValue()] = llvm::json::Object{{"dtype", safetensorsType(type.getElementType())},
                                                   {"shape", std::move(shape)},
                                                   {"data_offsets", llvm::json::Array{offset, offset + wanted.bytes()}}};
    offset += wanted.bytes();
  }
  std::string text = llvm::formatv("{0}", llvm::json::Value(std::move(header)));
  text.append(llvm::alignTo(text.size() + 8, 64) - 8 - text.size(), ' ');

  std::error_code code;
  llvm::raw_fd_ostream os(path, code, llvm::sys::fs::OF_None);
  if (code)
    return first.emitError() << "can't write '" << path << "': " << code.message();
  char length[8];
  llvm::support::endian::write64le(length, text.size());
  os.write(length, 8);
  os << text;
  std::vector<WeightLoader> loaders(modules.begin(), modules.end());
  uint64_t done = 0;
  for (const Wanted &wanted : *order) {
    FailureOr<HostWeight> weight = loaders[wanted.module].load(wanted.symbol);
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
    return first.emitError() << "writing '" << path << "' failed: " << message;
  }
  return success();
}
