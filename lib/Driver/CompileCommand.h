//===-- CompileCommand.h - sparse-opt compile ------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_COMPILECOMMAND_H
#define SPARSE_LIB_DRIVER_COMPILECOMMAND_H

namespace sparse::driver {
/// `sparse-opt compile`: runs the road from a model (or any phase's IR) to an artifact (or any phase's IR).
int compileCommand(int argc, char **argv);
} // namespace sparse::driver

#endif
