//===-- WeightWriter.h - weights.safetensors of an artifact ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_PACKAGE_WEIGHTWRITER_H
#define SPARSE_LIB_PACKAGE_WEIGHTWRITER_H

#include "mlir/IR/BuiltinOps.h"

namespace sparse::package {

/// Writes every weight that some `plan.weight` of `module` reads to `path`, in the safetensors format, largest first,
/// data at a multiple of 64 bytes. `progress` is told the bytes written and in all.
mlir::LogicalResult writeWeights(mlir::ModuleOp module, llvm::StringRef path,
                                 llvm::function_ref<void(uint64_t done, uint64_t total)> progress);

} // namespace sparse::package

#endif
