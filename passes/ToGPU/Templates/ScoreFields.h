//===-- ScoreFields.h - Fields that a score reads --------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_SCOREFIELDS_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_SCOREFIELDS_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Why the fields that a score reads can't be read like keys, a row for each page; empty when they can.
std::string whyNotKeyLike(sparsity::ScoreOp op);

} // namespace sparse::device

#endif
