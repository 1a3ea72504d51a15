//===-- Driver.h - The sparse-opt tool as a library ------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_DRIVER_H
#define SPARSE_LIB_DRIVER_DRIVER_H

#include "mlir/IR/DialectRegistry.h"

namespace sparse::driver {
/// Adds every dialect and external model that some phase of the road may create.
void registerDialects(mlir::DialectRegistry &registry);
/// Makes the project's passes and pipelines, and the upstream passes they are built from, available by name.
void registerPasses();
/// `sparse-opt`: runs the sub-command that argv[1] names, else the pass driver. Returns the exit code (docs: README).
int sparseOptMain(int argc, char **argv);
} // namespace sparse::driver

#endif
