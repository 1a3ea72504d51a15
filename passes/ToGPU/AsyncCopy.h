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

/// What copies of whole rows complete on: an mbarrier in shared memory (8 bytes). Copies are the engine's: one lane starts
/// each, of a multiple of 16 bytes (compute capability 9).
class BulkBarrier {
public:
  /// Barrier `index` of `barriers` (i64 in shared memory).
  BulkBarrier(Device &d, Span barriers, Value index) : d(d), pointer(d.pointer(barriers, index)) {}

  /// By one thread, once; then `publishBarriers` and a barrier of those who wait.
  void prepare();
  /// By one thread for each phase: how many bytes end it.
  void expect(Value bytes);
  /// Starts a copy of `bytes` (i32).
  void copy(Value sharedPointer, Value globalPointer, Value bytes, Value policy);
  /// Waits until the bytes of the phase have come; phases have parities (i32) 0, 1, 0, 1, ...
  void wait(Value parity);

private:
  Device &d;
  Value pointer;
};

/// Makes prepared barriers, and what threads have done with shared memory so far, known to the copy engine.
void publishBarriers(Device &d);

} // namespace sparse::device

#endif
