//===- ContextTest.cpp - Steps against the oracle -------------------------===//

#include "Context.h"
#include "ToyModel.h"

#include <gtest/gtest.h>
#include <random>

using namespace sparse::runtime;

namespace {

std::vector<int32_t> randomIds(std::mt19937 &random, size_t n) {
  std::vector<int32_t> ids(n);
  for (int32_t &id : ids)
    id = static_cast<int32_t>(random() % 48);
  return ids;
}

ContextOptions smallOptions() {
  ContextOptions options;
  options.maxSequences = 8;
  options.threads = 2;
  options.limitBytes = 16 << 20;
  options.checkCounts = true;
  return options;
}

void expectExtents(const Context &context, uint32_t seq,
                   const toy::Oracle &oracle) {
  const auto &layers = context.cache().layouts();
  for (uint32_t l = 0; l < layers.size(); ++l)
    for (uint32_t h = 0; h < layers[l].kvHeads; ++h)
      ASSERT_EQ(context.cache().extent(seq, l, h), oracle.extent(l, h))
          << "layer " << l << " head " << h;
}

toy::Config configOf(int which) {
  if (which == 0)
    return toy::Config();
  if (which < 4) {
    const char *const caps[] = {"none", "end", "chunk"};
    return toy::cappedConfig(caps[which - 1]);
  }
  toy::Config mixed = toy::cappedConfig("end");
  mixed.layers[1].prefillCap = "chunk";
  return mixed;
}

/// 0: dense; 1..3: caps with prefill_cap none, end, chunk; 4: end and chunk.
class ContextTest : public testing::TestWithParam<int> {
protected:
  toy::Config config = configOf(GetParam());
  std::unique_ptr<toy::LoadedModel> loaded = toy::load(config);
  Context context{loaded->model, smallOptions()};
  std::mt19937 random{static_cast<unsigned>(7 + GetParam())};
};

TEST_P(ContextTest, PrefillAndDecodeEqualTheOracle) {
  for (size_t length : {1, 3, 7, 8, 9, 16, 17, 31, 64, 100}) {
    uint32_t seq = context.cache().create();
    toy::Oracle oracle(config);
    std::vector<int32_t> ids = randomIds(random, length);
    std::vector<float> hidden(length * config.hidden());
    std::vector<float> logits(config.vocab);
    context.prefill(seq, ids.data(), ids.size(), hidden.data(), logits.data());
    auto expected = oracle.prefill(ids);
    for (size_t i = 0; i < length; ++i)
      ASSERT_EQ(std::vector<float>(hidden.begin() + i * config.hidden(),
                                   hidden.begin() + (i + 1) * config.hidden()),
                expected[i])
          << "row " << i << " of " << length;
    ASSERT_EQ(logits, oracle.logits(expected.back()));
    expectExtents(context, seq, oracle);
    for (int step = 0; step < 40; ++step) {
      int32_t id = static_cast<int32_t>(random() % 48);
      DecodeRow row = {seq, id};
      context.decode(&row, 1, logits.data());
      ASSERT_EQ(logits, oracle.decode(id)) << "step " << step;
      expectExtents(context, seq, oracle);
    }
    context.cache().destroy(seq);
  }
  EXPECT_EQ(context.cache().usage().pages, 0u);
}

INSTANTIATE_TEST_SUITE_P(Policies, ContextTest, testing::Range(0, 5));

} // namespace
