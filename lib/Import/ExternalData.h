//===-- ExternalData.h - Files beside the model ---------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_EXTERNALDATA_H
#define SPARSE_LIB_IMPORT_EXTERNALDATA_H

#include "lib/Import/Import.h"
#include "lib/Import/Proto.h"

#include "llvm/ADT/StringMap.h"

namespace sparse::import {
/// Bytes of a file beside the model.
struct ExternalPiece {
  std::string path; ///< the model's directory as the user named it, joined with the location
  uint64_t offset = 0, length = 0;
};

/// Resolves the external data of tensors. A location is text from an untrusted file: it may only name a regular file
/// inside the root directory, by a relative path without `..`, and the bytes must lie inside that file.
class ExternalData {
public:
  ExternalData(llvm::StringRef modelPath, const ImportOptions &options);
  ~ExternalData();
  ExternalData(const ExternalData &) = delete;
  ExternalData &operator=(const ExternalData &) = delete;

  /// Where the `bytes` bytes of `tensor` are. Emits a diagnostic at `loc` and fails when a rule is broken.
  mlir::FailureOr<ExternalPiece> resolve(const proto::TensorProto &tensor, uint64_t bytes, mlir::Location loc);
  /// Reads a piece that `resolve` returned.
  mlir::FailureOr<std::string> read(const ExternalPiece &piece, mlir::Location loc);

private:
  struct File {
    int fd;
    uint64_t size;
  };
  mlir::LogicalResult openRoot(mlir::Location loc);
  mlir::FailureOr<File> openFile(llvm::StringRef location, mlir::Location loc);
  int openBeneath(const std::string &path) const;
  int openWithoutLinks(const std::string &path) const;
  int openInsideRoot(const std::string &path) const;

  std::string directory;     ///< of the model, as named by the user
  std::string rootDirectory; ///< what must not be left
  std::string prefix;        ///< from the root to the model's directory
  bool allowLinks, absentData;
  int root = -1;
  llvm::StringMap<File> files;
};
} // namespace sparse::import

#endif
