//===-- Package.h - Writing the artifact -----------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_PACKAGE_PACKAGE_H
#define SPARSE_LIB_PACKAGE_PACKAGE_H

#include "mlir/IR/BuiltinOps.h"

#include <functional>
#include <string>

namespace sparse::package {

struct PackageOptions {
  std::string output;       ///< directory of the artifact; replaced when it is one already
  std::string sourceName;   ///< file name of the model
  std::string sourceDigest; ///< its SHA-256, hex
  std::string tokenizer;    ///< a tokenizer.json to carry; may be empty
  bool withoutWeights = false; ///< leave out the bytes of weights: an artifact to measure with
  /// Told what is being done and how far it is (0..1).
  std::function<void(llvm::StringRef what, double fraction)> progress = [](llvm::StringRef, double) {};
};

/// One device of an artifact: its module after the last phase of IR.
struct DeviceModule {
  std::string device; ///< "cpu" or "cuda"
  mlir::ModuleOp module;
  std::string chip = {}; ///< cuda: the architecture of the code, e.g. "sm_90a"
};

/// Phase `binary`: writes the artifact of one module per device (docs/architecture.md §4); facts and policy are those of
/// the first. It is made beside `output` and moved there when it is complete.
mlir::LogicalResult writeArtifact(llvm::ArrayRef<DeviceModule> devices, const PackageOptions &options);

/// The same for the CPU alone.
mlir::LogicalResult writeArtifact(mlir::ModuleOp module, const PackageOptions &options);

} // namespace sparse::package

#endif
