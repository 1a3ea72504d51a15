//===-- Import.h - ONNX files to the onnx dialect -------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_IMPORT_H
#define SPARSE_LIB_IMPORT_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <cstdint>
#include <string>

namespace sparse::import {
/// Upper bounds on what a file may ask for. A model file is untrusted: each bound keeps time and memory proportional to
/// what a real decoder needs.
struct ImportLimits {
  uint64_t fileBytes = (uint64_t(1) << 31) - 1; ///< protobuf's own limit; larger models keep their weights outside.
  uint64_t nodes = 1'000'000;                   ///< in all graphs and functions, also after inlining
  uint64_t tensors = 100'000;
  uint64_t messages = uint64_t(1) << 24; ///< nested messages and strings
  uint64_t nameBytes = 4096;
  uint64_t rank = 8;
  uint64_t dimension = uint64_t(1) << 40;
  uint64_t tensorBytes = uint64_t(1) << 46; ///< of all tensors together
  unsigned subgraphDepth = 16;
  unsigned functionDepth = 32;
};

struct ImportOptions {
  /// Follow symbolic links to external data and accept hard links, as long as the file stays inside the root.
  bool allowLinks = false;
  /// Directory that external data must not leave; empty: the directory of the model file. Naming one implies
  /// `allowLinks` (a download cache keeps the bytes elsewhere and links to them).
  std::string externalDataRoot;
  /// Accept external data whose file does not exist: a model's shapes alone. Values that the compiler must know are then
  /// an error.
  bool absentData = false;
  ImportLimits limits;
};

/// Reads the ONNX model at `path` into a module: weights as `onnx.initializer` symbols that name bytes of files, and
/// the graph as `func.func @main` of onnx ops. On anything wrong emits one diagnostic, located at the node, the
/// initializer or the byte that is at fault, and returns null.
mlir::OwningOpRef<mlir::ModuleOp> importOnnx(llvm::StringRef path, const ImportOptions &options,
                                             mlir::MLIRContext *context);
} // namespace sparse::import

#endif
