//===-- CPUPipeline.h - Phases kernels and llvm for the CPU ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOCPU_CPUPIPELINE_H
#define SPARSE_PASSES_TOCPU_CPUPIPELINE_H

#include "mlir/Pass/PassManager.h"

namespace sparse {
/// Phase `kernels`: entries to plans, kernel regions to functions on buffers with explicit loops.
void buildCPUKernelsPipeline(mlir::OpPassManager &manager);
/// Phase `llvm`: kernels to the llvm dialect behind the packed ABI.
void buildCPULLVMPipeline(mlir::OpPassManager &manager);
} // namespace sparse

#endif
