//===- Sampler.h - From logits to a token -----------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SAMPLER_H
#define SPARSE_RUNTIME_SAMPLER_H

#include <cstddef>
#include <cstdint>

namespace sparse::runtime {

/// Chooses a token from `logits[vocab]`. Temperature 0 is greedy: the largest
/// logit, the lowest id among equals. Otherwise softmax(logits / temperature)
/// at a point that is a function of `seed` and `index` alone, so that a text
/// can be reproduced from any of its tokens. Throws INVALID_ARGUMENT for a
/// negative or non-finite temperature and INTERNAL for logits with NaN.
int32_t sampleToken(const float *logits, size_t vocab, float temperature,
                    uint64_t seed, uint64_t index);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SAMPLER_H
