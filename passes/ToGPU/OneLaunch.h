//===-- OneLaunch.h - Which steps of attention fit one launch --------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_ONELAUNCH_H
#define SPARSE_PASSES_TOGPU_ONELAUNCH_H

#include "dialects/Sparsity/Sparsity.h"

#include <string>

namespace sparse::device {

/// Why selection, attention and its combination can't be one kernel; empty when they can.
std::string whyNotOneLaunch(sparsity::SelectOp select, sparsity::AttendPartOp attend, sparsity::TargetAttr target,
                            sparsity::TileCopy copies = sparsity::TileCopy::Async);

} // namespace sparse::device

#endif
