//===-- Rotation.h - Entries of rotated vectors ----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ROTATION_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ROTATION_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// A rotary embedding that a kernel applies on the way: (x1 c - x2 s, x2 c + x1 s) for each pair of channels, channels past
/// the rotary width unchanged.
class Rotation {
public:
  Rotation(DeviceKernel &kernel, onnx::RotaryEmbeddingOp op);

  /// Channels of a head.
  int64_t dim() const { return width; }
  /// Loads the position of the row that all entries from here on belong to.
  void locate(Value row);
  /// Channel `channel` of head `head` of a row, f32.
  Value entry(Value row, Value head, Value channel);

private:
  DeviceKernel &k;
  onnx::RotaryEmbeddingOp op;
  int64_t width, half;
  Value position; // null: of each entry's row
};

} // namespace sparse::device

#endif
