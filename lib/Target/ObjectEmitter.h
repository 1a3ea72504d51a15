//===-- ObjectEmitter.h - Kernels in the llvm dialect to a shared object ---------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_TARGET_OBJECTEMITTER_H
#define SPARSE_LIB_TARGET_OBJECTEMITTER_H

#include "lib/Target/CPUTargets.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace sparse::target {

/// Where the shared object of one target goes.
struct CodeOutput {
  const CPUTarget *target;
  std::string path;
};

/// Compiles every `llvm.func` of `module` for every target, adds `sparse_kernel_abi`, and links one shared object each.
/// Targets are compiled in parallel. Emits one error and fails when LLVM or the linker (ld.lld, found on the PATH) does.
mlir::LogicalResult emitSharedObjects(mlir::ModuleOp module, llvm::ArrayRef<CodeOutput> outputs);

} // namespace sparse::target

#endif
