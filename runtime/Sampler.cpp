//===- Sampler.cpp - From logits to a token -------------------------------===//

#include "Sampler.h"
#include "Status.h"

#include <cmath>

using namespace sparse::runtime;

/// SplitMix64: one well-mixed number per (seed, index).
static uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

int32_t sparse::runtime::sampleToken(const float *logits, size_t vocab,
                                     float temperature, uint64_t seed,
                                     uint64_t index) {
  if (!(temperature >= 0) || std::isinf(temperature))
    fail(Code::InvalidArgument, "temperature must be finite and not negative");
  if (vocab == 0)
    fail(Code::InvalidArgument, "there are no logits to sample from");
  size_t best = 0;
  for (size_t i = 0; i < vocab; ++i) {
    if (std::isnan(logits[i]))
      fail(Code::Internal, "logit %zu is not a number", i);
    if (logits[i] > logits[best])
      best = i;
  }
  if (temperature == 0 || !std::isfinite(logits[best]))
    return static_cast<int32_t>(best);

  double scale = 1.0 / static_cast<double>(temperature);
  auto weight = [&](size_t i) {
    return std::exp((static_cast<double>(logits[i]) - logits[best]) * scale);
  };
  double total = 0;
  for (size_t i = 0; i < vocab; ++i)
    total += weight(i);
  double uniform =
      static_cast<double>(mix(mix(seed) ^ index) >> 11) * 0x1.0p-53;
  double target = uniform * total, sum = 0;
  for (size_t i = 0; i < vocab; ++i) {
    sum += weight(i);
    if (sum > target)
      return static_cast<int32_t>(i);
  }
  // Rounding can leave the sum an ulp short of the target.
  return static_cast<int32_t>(best);
}
