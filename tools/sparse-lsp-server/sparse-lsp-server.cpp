//===-- sparse-lsp-server.cpp - Language server for .mlir files with the project's dialects -----------------------===//
#include "lib/Driver/Driver.h"

#include "mlir/Support/LLVM.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  sparse::driver::registerDialects(registry);
  return mlir::succeeded(mlir::MlirLspServerMain(argc, argv, registry)) ? 0 : 1;
}
