//===-- DeviceEmitter.h - Kernels for a CUDA device to a cubin and PTX -----------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_TARGET_DEVICEEMITTER_H
#define SPARSE_LIB_TARGET_DEVICEEMITTER_H

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace sparse::target {

/// Compiles the device kernels of `module` and writes a cubin and the PTX that it came from.
mlir::LogicalResult emitDeviceCode(mlir::ModuleOp module, const std::string &cubinPath, const std::string &ptxPath);

} // namespace sparse::target

#endif
