//===-- DeviceTargets.h - GPUs that the compiler knows ---------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_TARGET_DEVICETARGETS_H
#define SPARSE_LIB_TARGET_DEVICETARGETS_H

#include "dialects/Sparsity/Sparsity.h"

namespace sparse::target {

/// What `--target cuda:NAME` stands for; null for an unknown name.
sparsity::TargetAttr deviceTarget(mlir::MLIRContext *context, llvm::StringRef name);

/// Names that `deviceTarget` knows, separated by commas.
std::string deviceTargetNames();

} // namespace sparse::target

#endif
