//===-- InspectCommand.h - sparse-opt inspect -----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_INSPECTCOMMAND_H
#define SPARSE_LIB_DRIVER_INSPECTCOMMAND_H

namespace sparse::driver {
/// Imports and raises a model, prints what it is and which sites it has. Returns the exit code.
int inspectCommand(int argc, char **argv);
} // namespace sparse::driver

#endif
