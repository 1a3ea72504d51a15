//===-- ObjectEmitter.h - Kernels in the llvm dialect to a shared object ---------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_TARGET_OBJECTEMITTER_H
#define SPARSE_LIB_TARGET_OBJECTEMITTER_H

#include "lib/Target/CPUTargets.h"
#include "mlir/IR/BuiltinOps.h"

namespace sparse::target {

/// Compiles every `llvm.func` of `module` for `target`, adds `sparse_kernel_abi`, and links a shared object at
/// `path`. Emits one error and fails when LLVM or the linker (ld.lld, found on the PATH) does.
mlir::LogicalResult emitSharedObject(mlir::ModuleOp module, const CPUTarget &target, llvm::StringRef path);

} // namespace sparse::target

#endif
