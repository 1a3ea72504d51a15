//===-- HostWeight.h - Bytes of a weight, and the steps of its recipe ------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_PACKAGE_HOSTWEIGHT_H
#define SPARSE_LIB_PACKAGE_HOSTWEIGHT_H

#include "dialects/ONNX/ONNX.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/MemoryBuffer.h"

namespace sparse::package {

/// A weight in memory: row-major elements of a static type. The bytes are mapped or owned.
struct HostWeight {
  mlir::Type element;
  llvm::SmallVector<int64_t> shape;
  std::shared_ptr<void> owner;
  const uint8_t *data = nullptr;

  int64_t elementBytes() const;
  int64_t count() const;
  int64_t bytes() const { return count() * elementBytes(); }
  /// A fresh weight of this shape; `data` of the result may be written through `mutableData`.
  static HostWeight make(mlir::Type element, llvm::ArrayRef<int64_t> shape);
  uint8_t *mutableData() { return const_cast<uint8_t *>(data); }
};

/// Computes weights by symbol. One at a time: nothing is kept but the file mappings.
class WeightLoader {
public:
  explicit WeightLoader(mlir::ModuleOp module) : module(module), symbols(module) {}
  /// The bytes of `symbol`; fails with a diagnostic at the symbol when its file can't be read.
  mlir::FailureOr<HostWeight> load(mlir::StringAttr symbol);

private:
  mlir::FailureOr<HostWeight> read(onnx::InitializerOp op);
  mlir::FailureOr<HostWeight> apply(onnx::DerivedOp op);

  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
  llvm::StringMap<std::shared_ptr<llvm::MemoryBuffer>> files;
};

} // namespace sparse::package

#endif
