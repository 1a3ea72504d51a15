//===- Checked.h - Arithmetic that cannot wrap ------------------*- C++ -*-===//
//
// Sizes that come from a file go through these, so that no bound check can be
// passed by a value that wrapped around.
//
//===----------------------------------------------------------------------===//
#ifndef SPARSE_RUNTIME_CHECKED_H
#define SPARSE_RUNTIME_CHECKED_H

#include "Status.h"

#include <cstdint>

namespace sparse::runtime {

inline uint64_t checkedMul(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_mul_overflow(a, b, &result))
    fail(Code::InvalidArgument, "size overflows 64 bits");
  return result;
}

inline uint64_t checkedAdd(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_add_overflow(a, b, &result))
    fail(Code::InvalidArgument, "size overflows 64 bits");
  return result;
}

/// True when [offset, offset + bytes) lies inside [0, size).
inline bool fitsIn(uint64_t offset, uint64_t bytes, uint64_t size) {
  return bytes <= size && offset <= size - bytes;
}

inline uint64_t ceilDiv(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

inline uint64_t alignTo(uint64_t a, uint64_t align) {
  return checkedMul(ceilDiv(a, align), align);
}

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CHECKED_H
