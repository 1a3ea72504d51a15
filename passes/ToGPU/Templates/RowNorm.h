//===-- RowNorm.h - The root mean square of a row -------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ROWNORM_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ROWNORM_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Elements of a row that a thread takes at once.
inline constexpr int64_t kNormWidth = 4;

/// 1 / sqrt(mean(x^2) + epsilon) over columns [first, first + part) of a row of `x`, by all `warps` warps of the block; every
/// thread gets it. The same bits for any number of warps that covers the row.
Value inverseRms(DeviceKernel &kernel, const Buffer &x, Value row, Value first, int64_t part, double epsilon,
                 int64_t warps);

} // namespace sparse::device

#endif
