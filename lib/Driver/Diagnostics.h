//===-- Diagnostics.h - How the tools print diagnostics -------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_DIAGNOSTICS_H
#define SPARSE_LIB_DRIVER_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/raw_ostream.h"

namespace sparse::driver {
/// Prints the diagnostics of a context while it lives, one line each, notes indented below:
///
///     model.onnx: node '/layers.3/attn' (#12): error: ...
///     model.onnx: initializer 'w': error: ...
///     policy.mlir:3:7: error: ...
///
/// Colours go to terminals only, and not when NO_COLOR is set.
class DiagnosticPrinter : public mlir::ScopedDiagnosticHandler {
public:
  explicit DiagnosticPrinter(mlir::MLIRContext *context, llvm::raw_ostream &os = llvm::errs());

  unsigned errors() const { return errorCount; }

private:
  void print(mlir::Diagnostic &diagnostic, unsigned indent);

  llvm::raw_ostream &os;
  bool colours;
  unsigned errorCount = 0;
};

/// Prints `location` the way the printer does, without a trailing colon.
void printLocation(mlir::Location location, llvm::raw_ostream &os);
} // namespace sparse::driver

#endif
