//===-- Epilogue.h - Elementwise ops at the end of a kernel ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_EPILOGUE_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_EPILOGUE_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Entry (row, column) of the kernel's last op, when all its elementwise ops are applied to `entries`: those of values that
/// the kernel computed itself (scalars, or vectors: the entries from `column` on). Other operands are read from their
/// buffers. f32.
FailureOr<Value> applyEpilogue(DeviceKernel &kernel, DenseMap<Value, Value> entries, Value row, Value column);

/// The same for one computed value.
inline FailureOr<Value> applyEpilogue(DeviceKernel &kernel, Value produced, Value entry, Value row, Value column) {
  DenseMap<Value, Value> entries;
  if (produced)
    entries[produced] = entry;
  return applyEpilogue(kernel, entries, row, column);
}

} // namespace sparse::device

#endif
