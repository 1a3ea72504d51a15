//===-- WeightWriter.h - weights.safetensors of an artifact ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_PACKAGE_WEIGHTWRITER_H
#define SPARSE_LIB_PACKAGE_WEIGHTWRITER_H

#include "mlir/IR/BuiltinOps.h"

namespace sparse::package {

/// Writes every weight that some `plan.weight` of `modules` reads to `path`, in the safetensors format, largest first,
/// data at a multiple of 64 bytes. A name that two modules have is written once: names say what the content is.
/// `progress` is told the bytes written and in all.
mlir::LogicalResult writeWeights(llvm::ArrayRef<mlir::ModuleOp> modules, llvm::StringRef path,
                                 llvm::function_ref<void(uint64_t done, uint64_t total)> progress);

} // namespace sparse::package

#endif
