//===-- ArenaPlanner.h - Offsets of values in an entry's arena -------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOCPU_ARENAPLANNER_H
#define SPARSE_PASSES_TOCPU_ARENAPLANNER_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>

namespace sparse {

/// A value between kernels: alive from the step that writes it to the last one that reads it.
struct ArenaValue {
  int64_t bytes = 0;
  int64_t first = 0, last = 0; // steps, inclusive
  int64_t offset = -1;         // filled in
};

/// Gives every value an offset (a multiple of 64) so that values alive at the same step do not overlap: largest first,
/// each at the lowest free place. Returns the arena's size.
int64_t planArena(llvm::MutableArrayRef<ArenaValue> values);

} // namespace sparse

#endif
