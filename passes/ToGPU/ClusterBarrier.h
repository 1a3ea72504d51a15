//===-- ClusterBarrier.h - Blocks of one cluster ---------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_CLUSTERBARRIER_H
#define SPARSE_PASSES_TOGPU_CLUSTERBARRIER_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// All threads of all blocks of the cluster arrive, then wait. `arrive` publishes what was written before to those who
/// have waited; `arriveOnly` publishes nothing.
void arriveOnly(Device &d);
void arrive(Device &d);
void waitForCluster(Device &d);

/// Shared memory `span` of the block with rank `rank` in the cluster.
Span ofBlock(Device &d, Span span, Value rank);

} // namespace sparse::device

#endif
