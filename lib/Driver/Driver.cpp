//===-- Driver.cpp - Dispatch of sparse-opt -----------------------------------------------------------------------===//
#include "lib/Driver/Driver.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int sparse::driver::sparseOptMain(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registerDialects(registry);
  registerPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "sparse-opt: compiles ONNX decoders with sparsity\n", registry));
}
