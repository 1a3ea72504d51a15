//===- PrefixTest.cpp - Prompts that begin alike --------------------------===//
//
// Every prompt is also given to a toy oracle, or to a context that keeps
// nothing: what was shared must not change a bit.
//
//===----------------------------------------------------------------------===//

#include "Context.h"
#include "PrefixIndex.h"

#include "sparse-opt/runtime.hpp"

#include "FakeCuda.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <random>

using namespace sparse::runtime;

namespace {

toy::Config configOf(const std::string &kind) {
  if (kind == "dense")
    return toy::Config();
  if (kind != "mixed")
    return toy::cappedConfig(kind);
  toy::Config mixed = toy::cappedConfig("end");
  mixed.layers[1].prefillCap = "chunk";
  return mixed;
}

using Kind = std::tuple<const char *, const char *>;

class PrefixTest : public testing::TestWithParam<Kind> {
protected:
  PrefixTest() {
    config.cuda = std::get<1>(GetParam()) == std::string("cuda");
    LoadOptions load;
    load.device = std::get<1>(GetParam());
    load.cuda = fake::platform();
    loaded = toy::load(config, load);
    for (int i = 0; i < 200; ++i)
      ids.push_back(static_cast<int32_t>(random() % 48));
  }
  ContextOptions options(uint64_t bytes) const {
    ContextOptions options = toy::smallOptions();
    options.prefixBytes = bytes;
    return options;
  }
  std::vector<float> prefill(Context &context, uint32_t seq,
                             const std::vector<int32_t> &prompt) {
    std::vector<float> logits(48);
    context.prefill(seq, prompt.data(), prompt.size(), nullptr, logits.data());
    return logits;
  }
  /// A prompt, and steps after it, against the oracle.
  uint32_t run(Context &context, const std::vector<int32_t> &prompt,
               int steps = 14) {
    uint32_t seq = context.cache().create();
    toy::Oracle oracle(config);
    EXPECT_EQ(prefill(context, seq, prompt),
              oracle.logits(oracle.prefill(prompt).back()))
        << prompt.size() << " tokens, " << context.cache().adopted(seq)
        << " of them known";
    for (int i = 0; i < steps; ++i) {
      DecodeRow row = {seq, (i * 5 + prompt[0]) % 48};
      std::vector<float> logits(48);
      context.decode(&row, 1, logits.data());
      EXPECT_EQ(logits, oracle.decode(row.token)) << "step " << i;
    }
    EXPECT_EQ(context.cache().tokens(seq)->size(), prompt.size() + steps);
    return seq;
  }
  std::vector<int32_t> first(size_t n) const {
    return std::vector<int32_t>(ids.begin(),
                                ids.begin() + static_cast<long>(n));
  }
  /// True where a block's state is gone when the sequence has gone on.
  bool evicts() const {
    return std::get<0>(GetParam()) != std::string("dense");
  }

  toy::Config config = configOf(std::get<0>(GetParam()));
  std::unique_ptr<toy::LoadedModel> loaded;
  std::mt19937 random{5};
  std::vector<int32_t> ids;
};

TEST_P(PrefixTest, TheSamePromptAgain) {
  Context context(loaded->model, options(1 << 20));
  for (size_t length : {1, 7, 8, 9, 16, 17, 31, 64, 65, 100})
    for (int again = 0; again < 3; ++again) {
      uint32_t seq = run(context, first(length));
      // Blocks are chunks of 8 here, and a token is left to compute.
      if (again) {
        EXPECT_EQ(context.cache().adopted(seq), (length - 1) / 8 * 8);
      }
      context.cache().destroy(seq);
    }
  PrefixUsage usage = context.prefixUsage();
  EXPECT_EQ(usage.lookups, 30u);
  EXPECT_GE(usage.hits, 14u);
  EXPECT_GT(usage.tokens, 0u);
  EXPECT_EQ(usage.pages, context.cache().usage().pages);
}

TEST_P(PrefixTest, OtherPromptsThatBeginAlike) {
  Context context(loaded->model, options(1 << 20));
  run(context, first(40));
  for (size_t common : {0, 5, 8, 12, 16, 32, 39}) {
    std::vector<int32_t> prompt = first(common);
    prompt.push_back((ids[common] + 1) % 48);
    for (int i = 0; i < 30; ++i)
      prompt.push_back(static_cast<int32_t>(random() % 48));
    uint32_t seq = run(context, prompt);
    if (!evicts()) {
      EXPECT_EQ(context.cache().adopted(seq), common / 8 * 8);
    }
    context.cache().destroy(seq);
  }
  // A longer prompt takes what the end of a shorter one has left.
  uint32_t seq = run(context, first(77));
  EXPECT_EQ(context.cache().adopted(seq), evicts() ? 32u : 40u);
}

// Only what a prefill has computed in whole chunks from the start on is kept.
TEST_P(PrefixTest, WhatIsNotKept) {
  Context context(loaded->model, options(1 << 20));
  auto adopted = [&](const std::vector<int32_t> &prompt) {
    uint32_t seq = context.cache().create();
    prefill(context, seq, prompt);
    uint64_t tokens = context.cache().adopted(seq);
    context.cache().destroy(seq);
    return tokens;
  };
  auto from = [&](size_t begin, size_t end) {
    return std::vector<int32_t>(ids.begin() + static_cast<long>(begin),
                                ids.begin() + static_cast<long>(end));
  };
  // Decode steps.
  uint32_t seq = context.cache().create();
  for (size_t i = 0; i < 24; ++i) {
    DecodeRow row = {seq, ids[i]};
    context.decode(&row, 1, nullptr);
  }
  EXPECT_EQ(adopted(from(0, 24)), 0u);
  // A prompt in pieces that are no chunks (of other tokens than those above).
  context.cache().clear(seq);
  prefill(context, seq, from(50, 55));
  prefill(context, seq, from(55, 90));
  EXPECT_EQ(adopted(from(50, 90)), 0u);
  // What follows a trim.
  context.cache().clear(seq);
  prefill(context, seq, from(100, 109));
  if (!evicts()) {
    context.trim(seq, 8);
    prefill(context, seq, from(108, 140));
    EXPECT_EQ(adopted(from(100, 140)), 8u);
  }
  // A prompt in whole chunks is.
  context.cache().clear(seq);
  prefill(context, seq, from(150, 158));
  bool compacted = context.cache().evicted(seq);
  prefill(context, seq, from(158, 180));
  if (!compacted) {
    EXPECT_EQ(adopted(from(150, 180)), 24u);
  }
}

TEST_P(PrefixTest, HiddenRowsAreComputed) {
  Context context(loaded->model, options(1 << 20));
  run(context, first(40));
  uint32_t seq = context.cache().create();
  std::vector<float> hidden(40 * static_cast<size_t>(config.hidden()));
  context.prefill(seq, ids.data(), 40, hidden.data(), nullptr);
  EXPECT_EQ(context.cache().adopted(seq), 0u);
  toy::Oracle oracle(config);
  auto rows = oracle.prefill(first(40));
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(std::vector<float>(
                  hidden.begin() + static_cast<long>(i) * config.hidden(),
                  hidden.begin() + static_cast<long>(i + 1) * config.hidden()),
              rows[i]);
}

TEST_P(PrefixTest, SaltsShareNothing) {
  Context context(loaded->model, options(1 << 20));
  auto adopted = [&](const char *salt, size_t n) {
    uint32_t seq = context.cache().create();
    context.cache().setSalt(seq, salt);
    prefill(context, seq, first(n));
    uint64_t tokens = context.cache().adopted(seq);
    for (uint32_t l = 0; l < config.layers.size() && !tokens; ++l)
      EXPECT_LE(
          context.cache().references(l, context.cache().pageAt(seq, l, 1, 0)),
          2u)
          << "the sequence and the index";
    return tokens;
  };
  EXPECT_EQ(adopted("a", 33), 0u);
  EXPECT_EQ(adopted("b", 33), 0u);
  EXPECT_EQ(adopted("", 33), 0u);
  EXPECT_EQ(adopted("a", 33), 32u);
  EXPECT_EQ(adopted("b", 33), 32u);
  EXPECT_EQ(adopted("", 33), 32u);
}

// Sequences that share pages and go different ways.
TEST_P(PrefixTest, NobodySeesTheOthers) {
  Context context(loaded->model, options(1 << 20));
  context.cache().destroy(run(context, first(50)));
  uint32_t one = run(context, first(50), 3);
  uint32_t two = context.cache().create();
  prefill(context, two, first(50));
  if (!evicts()) {
    // Into the pages that are shared, and on with other tokens.
    context.trim(two, 19);
    std::vector<int32_t> other(20, 3);
    toy::Oracle oracle(config);
    oracle.prefill(first(50));
    oracle.trim(19);
    EXPECT_EQ(prefill(context, two, other),
              oracle.logits(oracle.prefill(other).back()));
  }
  uint32_t forked = context.cache().fork(one);
  context.cache().destroy(one);
  run(context, first(50));
  context.cache().destroy(two);
  run(context, first(49));
  DecodeRow row = {forked, 11};
  std::vector<float> logits(48);
  context.decode(&row, 1, logits.data());
  toy::Oracle oracle(config);
  oracle.prefill(first(50));
  for (int i = 0; i < 3; ++i)
    oracle.decode((i * 5 + ids[0]) % 48);
  EXPECT_EQ(logits, oracle.decode(11));
}

TEST_P(PrefixTest, KeepsToItsLimit) {
  const uint64_t limit = 20000;
  Context context(loaded->model, options(limit));
  for (int i = 0; i < 40; ++i) {
    std::vector<int32_t> prompt(static_cast<size_t>(20 + i % 7 * 9), i);
    context.cache().destroy(run(context, prompt, 2));
    PrefixUsage usage = context.prefixUsage();
    EXPECT_LE(usage.bytes, limit);
    EXPECT_EQ(usage.pages, context.cache().usage().pages);
  }
  // The most recent prompt is there, the first is not.
  uint32_t seq = run(context, std::vector<int32_t>(20 + 39 % 7 * 9, 39), 2);
  EXPECT_GT(context.cache().adopted(seq), 0u);
  seq = run(context, std::vector<int32_t>(20, 0), 2);
  EXPECT_EQ(context.cache().adopted(seq), 0u);
  // A limit below any block keeps nothing.
  Context none(loaded->model, options(1));
  none.cache().destroy(run(none, first(60)));
  EXPECT_EQ(none.cache().usage().pages, 0u);
  EXPECT_EQ(none.prefixUsage().bytes, 0u);
}

// What is kept is given up before a sequence is refused.
TEST_P(PrefixTest, MakesRoomForSequences) {
  ContextOptions tight = options(1 << 20);
  tight.limitBytes = 24000;
  Context context(loaded->model, tight);
  ContextOptions same = tight;
  same.prefixBytes = 0;
  Context plain(loaded->model, same);
  auto fill = [&](Context &one) {
    int n = 0;
    while (n < 8 && codeOf([&] {
                      uint32_t seq = one.cache().create();
                      try {
                        prefill(one, seq, std::vector<int32_t>(45, n));
                      } catch (...) {
                        one.cache().destroy(seq);
                        throw;
                      }
                    }) == Code::Ok)
      ++n;
    for (uint32_t seq = 0; seq < 8; ++seq)
      if (one.cache().exists(seq))
        one.cache().destroy(seq);
    return n;
  };
  int fits = fill(plain);
  ASSERT_GT(fits, 0);
  ASSERT_LT(fits, 8);
  for (int i = 0; i < 20; ++i)
    context.cache().destroy(run(context, std::vector<int32_t>(40, i), 2));
  EXPECT_GT(context.prefixUsage().pages, 0u);
  EXPECT_EQ(fill(context), fits) << "as many as without an index";
}

TEST_P(PrefixTest, RandomPrompts) {
  Context context(loaded->model, options(60000));
  std::vector<std::vector<int32_t>> prompts = {first(9)};
  std::vector<uint32_t> live;
  for (int i = 0; i < 120; ++i) {
    std::vector<int32_t> prompt = prompts[random() % prompts.size()];
    prompt.resize(random() % prompt.size() + 1);
    size_t more = random() % 40;
    for (size_t k = 0; k < more && prompt.size() < 120; ++k)
      prompt.push_back(static_cast<int32_t>(random() % 3));
    prompts.push_back(prompt);
    if (live.size() == 5) {
      size_t at = random() % live.size();
      context.cache().destroy(live[at]);
      live.erase(live.begin() + static_cast<long>(at));
    }
    live.push_back(run(context, prompt, static_cast<int>(random() % 6)));
  }
  EXPECT_GT(context.prefixUsage().hits, evicts() ? 10u : 20u);
  for (uint32_t seq : live)
    context.cache().destroy(seq);
  EXPECT_EQ(context.prefixUsage().pages, context.cache().usage().pages);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, PrefixTest,
    testing::Combine(testing::Values("dense", "none", "end", "chunk", "mixed"),
                     testing::Values("cpu", "cuda")),
    [](const testing::TestParamInfo<Kind> &info) {
      return std::string(std::get<0>(info.param)) + "_" +
             std::get<1>(info.param);
    });

// Allocations that fail while a beginning is taken or kept.
TEST(PrefixFaults, EveryAllocation) {
  auto loaded = toy::load(toy::cappedConfig("end"));
  std::vector<int32_t> ids;
  for (int i = 0; i < 60; ++i)
    ids.push_back(i % 48);
  toy::Oracle oracle(toy::cappedConfig("end"));
  std::vector<float> expected = oracle.logits(oracle.prefill(ids).back());
  for (int64_t k = 0, ended = 0; !ended; ++k) {
    auto memory = std::make_shared<FailingMemory>();
    ContextOptions options = toy::smallOptions();
    options.memory = memory;
    options.prefixBytes = 1 << 20;
    Context context(loaded->model, options);
    std::vector<float> logits(48);
    auto prompt = [&] {
      uint32_t seq = context.cache().create();
      Code code = codeOf([&] {
        context.prefill(seq, ids.data(), ids.size(), nullptr, logits.data());
      });
      if (code == Code::Ok)
        EXPECT_EQ(logits, expected);
      else
        EXPECT_EQ(code, Code::ResourceExhausted);
      context.cache().destroy(seq);
      return code;
    };
    memory->failAfter = k;
    for (int i = 0; i < 2; ++i)
      codeOf([&] { prompt(); });
    ended = memory->failAfter >= 0;
    memory->failAfter = -1;
    EXPECT_EQ(prompt(), Code::Ok) << "after failure " << k;
    EXPECT_EQ(context.prefixUsage().pages, context.cache().usage().pages);
  }
}

TEST(PrefixApi, OptionsSaltsAndUsage) {
  toy::TempDir dir;
  toy::makeArtifact(toy::Config()).write(dir.path());
  sparse::Model model(dir.path());
  std::vector<int32_t> ids(40, 7);
  auto run = [&](sparse::Context &context, const char *salt) {
    sparse::Sequence sequence = context.create();
    if (salt)
      sequence.setSalt(salt);
    context.prefill(sequence, ids.data(), ids.size(), nullptr, nullptr);
    EXPECT_THROW(sequence.setSalt("later"), sparse::RuntimeError);
    return sequence.usage().prefix_tokens;
  };
  sparse::Context without(model);
  run(without, nullptr);
  EXPECT_EQ(run(without, nullptr), 0u);
  EXPECT_EQ(without.usage().prefix_lookups, 0u);
  EXPECT_EQ(without.usage().pages, 0u);

  sparse_context_options options = {};
  options.prefix_cache_bytes = 1 << 20;
  options.prefix_salt = "tenant";
  options.prefix_salt_bytes = 6;
  sparse::Context context(model, options);
  EXPECT_EQ(run(context, nullptr), 0u);
  EXPECT_EQ(run(context, nullptr), 32u);
  EXPECT_EQ(run(context, "tenant"), 32u) << "the salt of the context";
  EXPECT_EQ(run(context, "another"), 0u);
  sparse_usage usage = context.usage();
  EXPECT_EQ(usage.prefix_lookups, 4u);
  EXPECT_EQ(usage.prefix_hits, 2u);
  EXPECT_EQ(usage.prefix_tokens, 64u);
  EXPECT_EQ(usage.prefix_pages, usage.pages);
  EXPECT_GT(usage.prefix_bytes, 0u);
  options.prefix_salt_bytes = 5000;
  EXPECT_THROW(sparse::Context(model, options), sparse::RuntimeError);
}

TEST(PrefixApi, Keep) {
  toy::TempDir dir;
  toy::makeArtifact(toy::Config()).write(dir.path());
  sparse::Model model(dir.path());
  sparse::Context context(model);
  sparse::Sequence one = context.create(), two = context.create(),
                   three = context.create();
  for (sparse::Sequence *sequence : {&one, &two, &three})
    context.decode({{sequence->get(), 5}}, nullptr);
  sparse_generate_row row = {};
  row.sequence = three.get();
  row.token = 6;
  sparse::Generation generation(context, {row});
  generation.step();
  uint64_t pages = two.usage().pages;
  two.keep();
  EXPECT_EQ(context.usage().pages, pages);
  EXPECT_EQ(two.length(), 1u);
  EXPECT_THROW(one.length(), sparse::RuntimeError);
  EXPECT_THROW(generation.step(), sparse::RuntimeError) << "its row is gone";
  EXPECT_THROW(one.keep(), sparse::RuntimeError);
  EXPECT_EQ(two.length(), 1u);
}

} // namespace
