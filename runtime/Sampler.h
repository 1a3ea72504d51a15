//===- Sampler.h - From logits to a token -----------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SAMPLER_H
#define SPARSE_RUNTIME_SAMPLER_H

#include <cstddef>
#include <cstdint>

namespace sparse::runtime {

/// How the tokens of a text are chosen.
struct Sampling {
  float temperature = 0; ///< 0 is greedy
  int32_t topK = 0;      ///< draw among the k best; 0 = all
  float topP = 1;        ///< draw among the best that have this share
  uint64_t seed = 0;
};

/// Throws INVALID_ARGUMENT for a temperature, `topK` or `topP` that means
/// nothing.
void checkSampling(const Sampling &sampling);

/// Chooses a token from `logits[vocab]`. Greedy takes the largest logit, the
/// lowest id among equals. Otherwise it is a draw that is a function of logits,
/// sampling and `index` alone, so that a text can be reproduced from any of its
/// tokens. The op `sparsity.sample` defines it; devices compute the same, bit
/// for bit. Throws as `checkSampling`, and INTERNAL for logits with NaN.
int32_t sampleToken(const float *logits, size_t vocab, const Sampling &sampling,
                    uint64_t index);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SAMPLER_H
