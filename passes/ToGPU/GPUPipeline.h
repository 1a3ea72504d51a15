//===-- GPUPipeline.h - Phases kernels and llvm for a GPU ------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_GPUPIPELINE_H
#define SPARSE_PASSES_TOGPU_GPUPIPELINE_H

#include "mlir/Pass/PassManager.h"

namespace sparse {
void buildGPUKernelsPipeline(mlir::OpPassManager &manager);
void buildGPULLVMPipeline(mlir::OpPassManager &manager);
} // namespace sparse

#endif
