//===-- TensorLocator.h - Where tensors lie in the model file -------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_TENSORLOCATOR_H
#define SPARSE_LIB_IMPORT_TENSORLOCATOR_H

#include "lib/Import/OnnxFile.h"

#include <optional>

namespace sparse::import {
/// Finds the bytes of tensors inside a model file, so that a weight can stay there and be named by its offset.
///
/// protobuf copies payloads while parsing and forgets where they were; this walks the wire format beside the parsed
/// messages. Only `raw_data` and packed `float_data` and `double_data` are little-endian elements in a row; the integer
/// fields are varints.
class TensorLocator {
public:
  explicit TensorLocator(const OnnxFile &file);

  /// Offset of the row-major little-endian data of `tensor`, which must belong to the file's model; nothing when its
  /// bytes are not contiguous.
  std::optional<uint64_t> offsetOf(const proto::TensorProto &tensor) const;

private:
  void graph(llvm::StringRef bytes, const proto::GraphProto &message);
  void node(llvm::StringRef bytes, const proto::NodeProto &message);
  void attribute(llvm::StringRef bytes, const proto::AttributeProto &message);
  void tensor(llvm::StringRef bytes, const proto::TensorProto &message);

  const char *base;
  llvm::DenseMap<const proto::TensorProto *, uint64_t> offsets;
};
} // namespace sparse::import

#endif
