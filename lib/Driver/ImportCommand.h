//===-- ImportCommand.h - sparse-opt import -------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_IMPORTCOMMAND_H
#define SPARSE_LIB_DRIVER_IMPORTCOMMAND_H

namespace sparse::driver {
/// `sparse-opt import model.onnx -o model.mlir`. Returns the exit code; argv[0] is "import".
int importCommand(int argc, char **argv);
} // namespace sparse::driver

#endif
