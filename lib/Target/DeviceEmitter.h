//===-- DeviceEmitter.h - Kernels in a gpu.module to PTX and a cubin -------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_TARGET_DEVICEEMITTER_H
#define SPARSE_LIB_TARGET_DEVICEEMITTER_H

#include "dialects/Sparsity/Sparsity.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace sparse::target {

/// Compiles the `gpu.module` of `module` for its `sparsity.target`: PTX to `ptxPath`, and with ptxas (of CUDA_HOME,
/// CUDA_PATH, the PATH or /usr/local/cuda) a cubin to `cubinPath`. Emits one error and fails when LLVM or ptxas does, or
/// when there is no ptxas.
mlir::LogicalResult emitDeviceCode(mlir::ModuleOp module, const std::string &cubinPath, const std::string &ptxPath);

} // namespace sparse::target

#endif
