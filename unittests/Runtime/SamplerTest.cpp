//===- SamplerTest.cpp - From logits to tokens ----------------------------===//

#include "Sampler.h"
#include "TestUtil.h"

#include <cmath>
#include <set>

using namespace sparse::runtime;

namespace {

Sampling at(float temperature, uint64_t seed, int32_t topK = 0,
            float topP = 1) {
  return {temperature, topK, topP, seed};
}

/// The tokens that come up in many draws.
std::set<int32_t> drawn(const std::vector<float> &logits,
                        const Sampling &sampling) {
  std::set<int32_t> tokens;
  for (uint64_t i = 0; i < 2000; ++i)
    tokens.insert(sampleToken(logits.data(), logits.size(), sampling, i));
  return tokens;
}

TEST(SamplerTest, GreedyTakesTheLowestOfTheLargest) {
  std::vector<float> logits = {1, 5, 3, 5, -HUGE_VALF};
  EXPECT_EQ(sampleToken(logits.data(), logits.size(), at(0, 1), 2), 1);
}

TEST(SamplerTest, IsAFunctionOfSeedAndIndex) {
  std::vector<float> logits(100, 0);
  std::vector<int32_t> a, b, other;
  for (uint64_t i = 0; i < 50; ++i) {
    a.push_back(sampleToken(logits.data(), 100, at(1, 7), i));
    other.push_back(sampleToken(logits.data(), 100, at(1, 8), i));
  }
  for (uint64_t i = 50; i--;)
    b.insert(b.begin(), sampleToken(logits.data(), 100, at(1, 7), i));
  EXPECT_EQ(a, b);
  EXPECT_NE(a, other);
}

TEST(SamplerTest, FollowsTheSoftmax) {
  // softmax at temperature 2: weights 1, 2, 4.
  float two = 2 * std::log(2.0f);
  std::vector<float> logits = {0, two, 2 * two, -HUGE_VALF};
  int counts[4] = {};
  const int n = 70000;
  for (int i = 0; i < n; ++i)
    ++counts[sampleToken(logits.data(), 4, at(2, 3), i)];
  // Five standard deviations.
  for (int i = 0; i < 3; ++i) {
    double p = (1 << i) / 7.0;
    EXPECT_NEAR(counts[i], n * p, 5 * std::sqrt(n * p * (1 - p))) << i;
  }
  EXPECT_EQ(counts[3], 0);
}

using Tokens = std::set<int32_t>;

TEST(SamplerTest, TopKKeepsTheBestAndTheLowestOfEquals) {
  std::vector<float> logits = {1, 3, 2, 2, -0.0f, 2, 0};
  EXPECT_EQ(drawn(logits, at(5, 1, 1)), Tokens({1}));
  EXPECT_EQ(drawn(logits, at(5, 1, 2)), Tokens({1, 2}));
  EXPECT_EQ(drawn(logits, at(5, 1, 3)), Tokens({1, 2, 3}));
  EXPECT_EQ(drawn(logits, at(5, 1, 6)), Tokens({0, 1, 2, 3, 4, 5}))
      << "-0 equals 0";
  EXPECT_EQ(drawn(logits, at(5, 1, 7)).size(), 7u);
  EXPECT_EQ(drawn(logits, at(5, 1, 100)).size(), 7u);
}

TEST(SamplerTest, TopPKeepsTheShortestStartThatReachesTheShare) {
  // Masses 1, 4, 2, 1 of 8.
  float one = std::log(2.0f);
  std::vector<float> logits = {0, 2 * one, one, 0, -HUGE_VALF};
  EXPECT_EQ(drawn(logits, at(1, 1, 0, 1e-9f)), Tokens({1}));
  EXPECT_EQ(drawn(logits, at(1, 1, 0, 0.49f)), Tokens({1}));
  EXPECT_EQ(drawn(logits, at(1, 1, 0, 0.51f)), Tokens({1, 2}));
  EXPECT_EQ(drawn(logits, at(1, 1, 0, 0.76f)), Tokens({0, 1, 2}));
  EXPECT_EQ(drawn(logits, at(1, 1, 0, 0.88f)), Tokens({0, 1, 2, 3}));
  EXPECT_EQ(drawn(logits, at(1, 1, 0, 1)), Tokens({0, 1, 2, 3}));
  // The share is that of what top_k has left: 4 and 2 of 6.
  EXPECT_EQ(drawn(logits, at(1, 1, 2, 0.66f)), Tokens({1}));
  EXPECT_EQ(drawn(logits, at(1, 1, 2, 0.67f)), Tokens({1, 2}));
}

TEST(SamplerTest, ColdIsGreedyAndHotIsEven) {
  std::vector<float> logits = {0, 1e-3f, -1, 0};
  EXPECT_EQ(drawn(logits, at(1e-6f, 1)), Tokens({1}));
  EXPECT_EQ(drawn(logits, at(1e-45f, 1)), Tokens({1}));
  EXPECT_EQ(drawn(logits, at(3e38f, 1)), Tokens({0, 1, 2, 3}));
  logits[3] = HUGE_VALF;
  EXPECT_EQ(drawn(logits, at(1, 1)), Tokens({3}));
}

TEST(SamplerTest, RefusesWhatIsNoNumber) {
  std::vector<float> logits = {0, NAN, 1};
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, at(0, 0), 0); }),
            Code::Internal);
  logits[1] = 0;
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, at(NAN, 0), 0); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, at(-1, 0), 0); }),
            Code::InvalidArgument);
  for (float share : {0.0f, -1.0f, 1.5f, NAN})
    EXPECT_EQ(
        codeOf([&] { sampleToken(logits.data(), 3, at(1, 0, 0, share), 0); }),
        Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, at(1, 0, -1), 0); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 0, at(1, 0), 0); }),
            Code::InvalidArgument);
}

} // namespace
