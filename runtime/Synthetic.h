//===- Synthetic.h - Made-up content of caches ------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SYNTHETIC_H
#define SPARSE_RUNTIME_SYNTHETIC_H

#include "Cache.h"
#include "Parallel.h"

namespace sparse::runtime {

/// Fills all pages of a sequence with numbers in [-1, 1) that depend on `seed`
/// alone. On the host every page has its own; on a device a block of them is
/// repeated, because they have to be copied there.
void fillPages(const Cache &cache, uint32_t seq, uint64_t seed,
               Parallel &parallel);

/// Some megabytes of random weights with a standard deviation of 0.02; zeros
/// for types that are no floats.
std::vector<uint8_t> randomBlock(DType type, uint64_t seed);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SYNTHETIC_H
