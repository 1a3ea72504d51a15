//===-- OnnxFile.h - An ONNX file, mapped and parsed ----------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_ONNXFILE_H
#define SPARSE_LIB_IMPORT_ONNXFILE_H

#include "lib/Import/Import.h"
#include "lib/Import/Proto.h"
#include "lib/Import/Source.h"

#include "llvm/Support/MemoryBuffer.h"

namespace sparse::import {
/// A model file: its bytes, mapped, and its parsed form.
class OnnxFile {
public:
  /// Maps and parses `source.path()`, which must be a regular file. Emits a diagnostic and fails when it can't be read,
  /// is no ONNX model, or exceeds a limit.
  mlir::LogicalResult load(const Source &source, const ImportLimits &limits);

  llvm::StringRef bytes() const { return buffer->getBuffer(); }
  const proto::ModelProto &model() const { return parsed; }

private:
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  proto::ModelProto parsed;
};
} // namespace sparse::import

#endif
