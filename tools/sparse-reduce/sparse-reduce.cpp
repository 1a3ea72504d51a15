//===-- sparse-reduce.cpp - Shrinks an .mlir file that makes a pass fail ------------------------------------------===//
#include "lib/Driver/Driver.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Support/LLVM.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  sparse::driver::registerDialects(registry);
  sparse::driver::registerPasses();
  mlir::MLIRContext context(registry);
  return mlir::succeeded(mlir::mlirReduceMain(argc, argv, context)) ? 0 : 1;
}
