//===-- StreamLoad.h - Reads of bytes that are read once -------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_STREAMLOAD_H
#define SPARSE_PASSES_TOGPU_STREAMLOAD_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// Loads of 16 or 8 bytes past the L1 cache that are the first to leave the L2 cache: pages and fields, of which a step reads
/// more than the caches hold. Nobody may write them during the launch. They stay where they are emitted.
class StreamLoad {
public:
  explicit StreamLoad(Device &d);
  /// Four i32 registers, or two.
  SmallVector<Value> operator()(Value globalPointer, int64_t registers = 4) const;

private:
  Device &d;
  Value policy;
};

/// The cache policy (i64) of bytes that are the first to leave the L2 cache.
Value evictFirst(Device &d);

} // namespace sparse::device

#endif
