//===-- Epilogue.h - Elementwise ops at the end of a kernel ----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_EPILOGUE_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_EPILOGUE_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Entry (row, column) of the kernel's last elementwise op, given that entry of `produced` (null for a kernel of
/// elementwise ops alone); a vector is the entries from `column` on. Other operands are read from their buffers. f32.
FailureOr<Value> applyEpilogue(DeviceKernel &kernel, Value produced, Value entry, Value row, Value column);

} // namespace sparse::device

#endif
