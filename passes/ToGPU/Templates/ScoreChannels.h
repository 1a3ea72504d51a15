//===-- ScoreChannels.h - Scores from fields that lie by channel -----------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_SCORECHANNELS_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_SCORECHANNELS_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Why a layout's fields, which lie by channel, can't be scored; empty when they can.
std::string whyNotChannels(sparsity::ScoreOp op);
LogicalResult emitScoreChannels(DeviceKernel &kernel);

} // namespace sparse::device

#endif
