//===- SafeTensors.h - Reading and writing safetensors ----------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SAFETENSORS_H
#define SPARSE_RUNTIME_SAFETENSORS_H

#include "DType.h"
#include "File.h"

#include <map>
#include <string>
#include <vector>

namespace sparse::runtime {

/// One tensor of a mapped file. The data belongs to the file.
struct TensorView {
  DType dtype = DType::F32;
  std::vector<uint64_t> shape;
  const uint8_t *data = nullptr;
  uint64_t bytes = 0;
};

/// A safetensors file. Strict: 8-byte length, JSON header of
/// at most 100 MB, tensors that cover the data without overlap or hole.
class SafeTensors {
public:
  SafeTensors() = default;

  /// Throws INVALID_ARGUMENT for a malformed file. `where` is its name for
  /// messages.
  SafeTensors(Mapping bytes, const std::string &where);
  explicit SafeTensors(const File &file)
      : SafeTensors(Mapping(file), file.path) {}

  /// Null when there is no such tensor.
  const TensorView *find(const std::string &name) const;

  const std::map<std::string, TensorView> &tensors() const { return views; }
  const Mapping &mapping() const { return map; }

private:
  Mapping map;
  std::map<std::string, TensorView> views;
};

/// What `writeSafeTensors` writes; the data is borrowed.
struct TensorToWrite {
  std::string name, dtype; ///< dtype as the format spells it: "F32"
  std::vector<uint64_t> shape;
  const void *data;
  uint64_t bytes;
};

/// Writes a file whose data starts at a multiple of 64.
void writeSafeTensors(const std::string &path,
                      const std::vector<TensorToWrite> &tensors);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SAFETENSORS_H
