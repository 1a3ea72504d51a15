//===-- AsyncCopy.h - Copies to shared memory behind a thread's back -------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_ASYNCCOPY_H
#define SPARSE_PASSES_TOGPU_ASYNCCOPY_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

inline constexpr int64_t kCopyBytes = 16;

/// Copies 16 bytes from global to shared memory (cp.async, past the L1 cache); both aligned to 16.
void copyAsync(Device &d, Value sharedPointer, Value globalPointer);
/// The same of bytes that nobody reads again: under a cache policy (StreamLoad.h).
void copyOnce(Device &d, Value sharedPointer, Value globalPointer, Value policy);
/// Ends a group of this thread's copies.
void commitCopies(Device &d);
/// Waits until at most `pending` of this thread's groups are under way. A barrier then shows them to the block.
void waitForCopies(Device &d, int64_t pending);

} // namespace sparse::device

#endif
