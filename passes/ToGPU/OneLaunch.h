//===-- OneLaunch.h - Which steps of attention fit one launch --------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_ONELAUNCH_H
#define SPARSE_PASSES_TOGPU_ONELAUNCH_H

#include "dialects/Sparsity/Sparsity.h"

#include <string>

namespace sparse::device {

/// Why selection, attention and its combination can't be one kernel; empty when they can.
std::string whyNotOneLaunch(sparsity::SelectOp select, sparsity::AttendPartOp attend, sparsity::TargetAttr target,
                            sparsity::TileCopy copies = sparsity::TileCopy::Async);

/// Why attention over such a layer, with `groups` query heads for a KV head, can't look for the nearest keys of likely
/// victims; empty when it can.
std::string whyNotNearest(kvcache::LayoutAttr layout, int64_t groups);

} // namespace sparse::device

#endif
