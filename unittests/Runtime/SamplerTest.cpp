//===- SamplerTest.cpp - From logits to tokens ----------------------------===//

#include "Sampler.h"
#include "TestUtil.h"

#include <cmath>

using namespace sparse::runtime;

namespace {

TEST(SamplerTest, GreedyTakesTheLowestOfTheLargest) {
  std::vector<float> logits = {1, 5, 3, 5, -HUGE_VALF};
  EXPECT_EQ(sampleToken(logits.data(), logits.size(), 0, 1, 2), 1);
}

TEST(SamplerTest, IsAFunctionOfSeedAndIndex) {
  std::vector<float> logits(100, 0);
  std::vector<int32_t> a, b, other;
  for (uint64_t i = 0; i < 50; ++i) {
    a.push_back(sampleToken(logits.data(), 100, 1, 7, i));
    other.push_back(sampleToken(logits.data(), 100, 1, 8, i));
  }
  for (uint64_t i = 50; i--;)
    b.insert(b.begin(), sampleToken(logits.data(), 100, 1, 7, i));
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
    ++counts[sampleToken(logits.data(), 4, 2, 3, i)];
  // Five standard deviations.
  for (int i = 0; i < 3; ++i) {
    double p = (1 << i) / 7.0;
    EXPECT_NEAR(counts[i], n * p, 5 * std::sqrt(n * p * (1 - p))) << i;
  }
  EXPECT_EQ(counts[3], 0);
}

TEST(SamplerTest, RefusesWhatIsNoNumber) {
  std::vector<float> logits = {0, NAN, 1};
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, 0, 0, 0); }),
            Code::Internal);
  logits[1] = 0;
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, NAN, 0, 0); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 3, -1, 0, 0); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { sampleToken(logits.data(), 0, 1, 0, 0); }),
            Code::InvalidArgument);
}

} // namespace
