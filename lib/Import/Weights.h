//===-- Weights.h - Tensors of the file as symbols and constants ----------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_WEIGHTS_H
#define SPARSE_LIB_IMPORT_WEIGHTS_H

#include "lib/Import/ExternalData.h"
#include "lib/Import/TensorData.h"
#include "lib/Import/TensorLocator.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"

namespace sparse::import {
/// Puts the tensors of a model into the module: small ones as constants in the function, so that folding sees them, all
/// others as `onnx.initializer` symbols read by one `onnx.weight` each, at the top of the function.
class Weights {
public:
  Weights(const OnnxFile &file, const Source &source, const ImportOptions &options, mlir::ModuleOp module);

  /// Starts inserting at the top of `function`, before what is already there.
  void enter(mlir::func::FuncOp function);

  /// Checks `tensor`, and its external data if it has any. Diagnostics are emitted at `loc`.
  mlir::FailureOr<TensorInfo> inspect(const proto::TensorProto &tensor, mlir::Location loc);

  /// The value of an inspected tensor, called `name` in the file; a constant if it has at most `inlineBytes` bytes.
  mlir::FailureOr<mlir::Value> materialize(const proto::TensorProto &tensor, const TensorInfo &info,
                                           llvm::StringRef name, uint64_t inlineBytes, mlir::Location loc);

  /// A constant at the top of the function.
  mlir::Value noValue();

private:
  mlir::OpBuilder top();
  mlir::Value placed(mlir::Operation *op);
  mlir::FailureOr<std::string> bytesOf(const proto::TensorProto &tensor, const TensorInfo &info, mlir::Location loc);
  std::string symbolFor(llvm::StringRef name);

  const Source &source;
  const ImportOptions &options;
  ExternalData external;
  TensorLocator locator;
  mlir::ModuleOp module;
  mlir::func::FuncOp function;
  mlir::Operation *lastAtTop = nullptr;
  mlir::Operation *lastSymbol = nullptr;
  mlir::Value absent;
  llvm::StringSet<> symbols;
  uint64_t totalBytes = 0;
};
} // namespace sparse::import

#endif
