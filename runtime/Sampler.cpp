//===- Sampler.cpp - From logits to a token -------------------------------===//
//
// The steps are those of the op `sparsity.sample`, where they are explained. A
// mass is an integer, so that sums do not depend on an order. The few products
// in f32 are never the operand of a sum that a compiler could fuse them with.
//
//===----------------------------------------------------------------------===//

#include "Sampler.h"
#include "Status.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace sparse::runtime;

namespace {

/// SplitMix64: one well-mixed number per (seed, index).
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

/// A logit in unsigned integer order, -0 as 0.
uint32_t keyOf(float logit) {
  uint32_t bits;
  std::memcpy(&bits, &logit, 4);
  if (bits == 0x80000000u)
    bits = 0;
  return bits ^ (bits & 0x80000000u ? 0xffffffffu : 0x80000000u);
}

float logitOf(uint32_t key) {
  uint32_t bits = key ^ (key & 0x80000000u ? 0x80000000u : 0xffffffffu);
  float logit;
  std::memcpy(&logit, &bits, 4);
  return logit;
}

/// mass * by / 2^bits without the bits that do not fit.
uint64_t scaled(uint64_t mass, uint64_t by, int bits) {
  uint64_t low = (uint64_t(1) << bits) - 1;
  return (mass >> bits) * by + ((mass & low) * by >> bits);
}

/// One draw among the tokens of one step.
class Draw {
public:
  Draw(const float *logits, size_t vocab, float best, float temperature)
      : logits(logits), vocab(vocab), best(best) {
    float inverse = 1.0f / temperature;
    inverse = std::min(std::max(inverse, 0x1p-64f), 0x1p64f);
    scale = inverse * 1.44269504088896340736f;
  }

  int32_t token(const Sampling &sampling, uint64_t index) const;

private:
  uint64_t massOf(float logit) const;
  template <typename Weight>
  void findThreshold(Weight weight, uint32_t &key, uint64_t &need) const;

  const float *logits;
  size_t vocab;
  float best, scale;
};

} // namespace

/// 2^40 for the best token.
uint64_t Draw::massOf(float logit) const {
  // Falls from 2^31 to 2^30 while `f` goes from 0 to 2^32.
  constexpr uint64_t terms[] = {2029164,   19769297,   118750169,
                                515782928, 1488514807, uint64_t(1) << 31};
  float down = (logit - best) * scale;
  down = down > -41.0f ? down : -41.0f;
  uint32_t q = static_cast<uint32_t>(static_cast<int32_t>(down * -0x1p20f));
  uint64_t f = uint64_t(q & 0xfffff) << 12, sum = terms[0];
  for (int i = 1; i < 6; ++i)
    sum = terms[i] - (f * sum >> 32);
  return (sum << 9) >> (q >> 20);
}

/// The key at which the weights of greater and equal keys reach `need`, which
/// becomes what is missing without its own. A digit at a time from the top.
template <typename Weight>
void Draw::findThreshold(Weight weight, uint32_t &key, uint64_t &need) const {
  key = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    uint64_t bins[256] = {};
    for (size_t i = 0; i < vocab; ++i) {
      uint32_t own = keyOf(logits[i]);
      if (shift == 24 || own >> (shift + 8) == key >> (shift + 8))
        bins[own >> shift & 0xff] += weight(logits[i]);
    }
    int bin = 255;
    for (; bin > 0 && bins[bin] < need; --bin)
      need -= bins[bin];
    key |= static_cast<uint32_t>(bin) << shift;
  }
}

int32_t Draw::token(const Sampling &sampling, uint64_t index) const {
  // Kept are tokens with a greater key, and the first `ties` that have it.
  uint32_t key = 0;
  uint64_t ties = 0;
  if (sampling.topK > 0 && static_cast<uint64_t>(sampling.topK) < vocab) {
    ties = static_cast<uint64_t>(sampling.topK);
    findThreshold([](float) { return uint64_t(1); }, key, ties);
  }
  uint64_t total = ties ? ties * massOf(logitOf(key)) : 0;
  for (size_t i = 0; i < vocab; ++i)
    if (keyOf(logits[i]) > key)
      total += massOf(logits[i]);
  if (sampling.topP < 1) {
    uint64_t share =
        scaled(total, static_cast<uint64_t>(sampling.topP * 0x1p24f), 24);
    share = std::max<uint64_t>(share, 1);
    uint64_t need = share;
    findThreshold([&](float logit) { return massOf(logit); }, key, need);
    uint64_t each = massOf(logitOf(key));
    ties = (need + each - 1) / each;
    total = share - need + ties * each;
  }
  uint64_t random = mix(mix(sampling.seed) ^ index) >> 32;
  uint64_t point = scaled(total, random, 32), sum = 0;
  for (size_t i = 0; i < vocab; ++i) {
    uint32_t own = keyOf(logits[i]);
    if (own < key || (own == key && ties == 0))
      continue;
    ties -= own == key;
    sum += massOf(logits[i]);
    if (sum > point)
      return static_cast<int32_t>(i);
  }
  fail(Code::Internal, "a draw is past all tokens");
}

void sparse::runtime::checkSampling(const Sampling &sampling) {
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature))
    fail(Code::InvalidArgument, "temperature must be finite and not negative");
  if (sampling.topK < 0)
    fail(Code::InvalidArgument, "top_k must not be negative");
  if (!(sampling.topP > 0 && sampling.topP <= 1))
    fail(Code::InvalidArgument, "top_p must be in (0, 1]");
}

int32_t sparse::runtime::sampleToken(const float *logits, size_t vocab,
                                     const Sampling &sampling, uint64_t index) {
  checkSampling(sampling);
  if (vocab == 0)
    fail(Code::InvalidArgument, "there are no logits to sample from");
  size_t best = 0;
  for (size_t i = 0; i < vocab; ++i) {
    if (std::isnan(logits[i]))
      fail(Code::Internal, "logit %zu is not a number", i);
    if (logits[i] > logits[best])
      best = i;
  }
  if (sampling.temperature == 0 || !std::isfinite(logits[best]))
    return static_cast<int32_t>(best);
  return Draw(logits, vocab, logits[best], sampling.temperature)
      .token(sampling, index);
}
