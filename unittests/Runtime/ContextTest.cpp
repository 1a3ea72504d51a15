//===- ContextTest.cpp - Steps against the oracle -------------------------===//

#include "Context.h"
#include "CudaCard.h"
#include "FakeCuda.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <gtest/gtest.h>
#include <random>
#include <set>

using namespace sparse::runtime;

namespace {

std::vector<int32_t> randomIds(std::mt19937 &random, size_t n) {
  std::vector<int32_t> ids(n);
  for (int32_t &id : ids)
    id = static_cast<int32_t>(random() % 48);
  return ids;
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

/// What lies at an address of the context's device.
template <typename T>
std::vector<T> readBack(const Context &context, const void *from, size_t n) {
  std::vector<T> values(n);
  context.cache().storage().download(values.data(), from, n * sizeof(T));
  return values;
}

/// "card" is a real one.
LoadOptions optionsFor(const std::string &device) {
  LoadOptions options;
  options.device = device == "cpu" ? "cpu" : "cuda";
  options.cuda = device == "card" ? nullptr : fake::platform();
  return options;
}

/// 0: dense; 1..3: caps with prefill_cap none, end, chunk; 4: end and chunk.
class ContextTest
    : public testing::TestWithParam<std::tuple<int, const char *>> {
protected:
  void SetUp() override {
    if (device != std::get<1>(GetParam()))
      GTEST_SKIP() << "there is no card, or no code for it";
  }

  int which = std::get<0>(GetParam());
  std::string device = [] {
    std::string wanted = std::get<1>(GetParam());
    return wanted == "card" && !toy::hasCard() ? "cuda" : wanted;
  }();
  toy::Config config = [&] {
    toy::Config config = configOf(which);
    config.cuda = device != "cpu";
    if (device == "card")
      config.cudaCode = toy::cardCode();
    return config;
  }();
  std::unique_ptr<toy::LoadedModel> loaded =
      toy::load(config, optionsFor(device));
  Context context{loaded->model, toy::smallOptions()};
  std::mt19937 random{static_cast<unsigned>(7 + which)};
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

// Many steps at once give what one at a time gives.
TEST_P(ContextTest, KnownTokensEqualTheOracle) {
  std::vector<uint32_t> seqs;
  std::vector<toy::Oracle> oracles;
  for (size_t length : {5, 17, 30}) {
    seqs.push_back(context.cache().create());
    oracles.emplace_back(config);
    std::vector<int32_t> ids = randomIds(random, length);
    context.prefill(seqs.back(), ids.data(), length, nullptr, nullptr);
    oracles.back().prefill(ids);
  }
  for (size_t steps : {1, 3, 70, 2}) {
    std::vector<int32_t> tokens = randomIds(random, steps * 3);
    std::vector<float> logits(3 * config.vocab);
    context.decodeKnown(seqs.data(), 3, tokens.data(), steps, logits.data());
    for (size_t i = 0; i < 3; ++i) {
      std::vector<float> expected;
      for (size_t step = 0; step < steps; ++step)
        expected = oracles[i].decode(tokens[step * 3 + i]);
      EXPECT_EQ(std::vector<float>(logits.begin() + i * config.vocab,
                                   logits.begin() + (i + 1) * config.vocab),
                expected);
      expectExtents(context, seqs[i], oracles[i]);
    }
  }
  std::vector<int32_t> bad = {1, 2, 48};
  uint64_t before = context.cache().length(seqs[0]);
  EXPECT_EQ(codeOf([&] {
              context.decodeKnown(seqs.data(), 1, bad.data(), 3, nullptr);
            }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] {
              context.decodeKnown(seqs.data(), 1, bad.data(), 0, nullptr);
            }),
            Code::InvalidArgument);
  EXPECT_EQ(context.cache().length(seqs[0]), before);
}

// Sequences of different length join and leave; each gets what it gets alone.
TEST_P(ContextTest, RaggedBatchesEqualTheOracle) {
  struct Member {
    uint32_t seq;
    toy::Oracle oracle;
  };
  std::vector<Member> members;
  for (int step = 0; step < 120; ++step) {
    if (members.size() < 7 && random() % 4 == 0) {
      members.push_back({context.cache().create(), toy::Oracle(config)});
      std::vector<int32_t> ids = randomIds(random, 1 + random() % 40);
      context.prefill(members.back().seq, ids.data(), ids.size(), nullptr,
                      nullptr);
      members.back().oracle.prefill(ids);
    }
    if (!members.empty() && random() % 10 == 0) {
      size_t leaving = random() % members.size();
      context.cache().destroy(members[leaving].seq);
      members.erase(members.begin() + leaving);
    }
    std::vector<DecodeRow> rows;
    for (const Member &member : members)
      rows.push_back({member.seq, static_cast<int32_t>(random() % 48)});
    if (rows.empty())
      continue;
    // Up to seven rows: 4 + 2 + 1 with buckets of 4, 2 and 1, with padding.
    std::vector<float> logits(rows.size() * config.vocab);
    context.decode(rows.data(), rows.size(), logits.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<float> one(logits.begin() + i * config.vocab,
                             logits.begin() + (i + 1) * config.vocab);
      ASSERT_EQ(one, members[i].oracle.decode(rows[i].token))
          << "row " << i << " of " << rows.size() << " step " << step;
      expectExtents(context, rows[i].seq, members[i].oracle);
    }
  }
}

TEST_P(ContextTest, ForksGoTheirOwnWays) {
  uint32_t seq = context.cache().create();
  toy::Oracle oracle(config);
  std::vector<int32_t> ids = randomIds(random, 21);
  context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
  oracle.prefill(ids);
  std::vector<std::pair<uint32_t, toy::Oracle>> all = {{seq, oracle}};
  std::vector<float> logits(config.vocab);
  for (int step = 0; step < 60; ++step) {
    if (all.size() < 6 && step % 9 == 4) {
      size_t from = random() % all.size();
      all.push_back({context.cache().fork(all[from].first), all[from].second});
    }
    for (auto &one : all) {
      DecodeRow row = {one.first, static_cast<int32_t>(random() % 48)};
      context.decode(&row, 1, logits.data());
      ASSERT_EQ(logits, one.second.decode(row.token));
    }
    if (all.size() == 6) {
      context.cache().destroy(all[2].first);
      all.erase(all.begin() + 2);
    }
  }
  for (auto &one : all)
    context.cache().destroy(one.first);
  EXPECT_EQ(context.cache().usage().pages, 0u);
}

TEST_P(ContextTest, TrimThenContinueEqualsTheOracle) {
  // Six tokens stay below every cap.
  uint32_t seq = context.cache().create();
  uint32_t forked = 0;
  toy::Oracle oracle(config);
  std::vector<int32_t> ids = randomIds(random, 6);
  context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
  oracle.prefill(ids);
  forked = context.cache().fork(seq);
  toy::Oracle forkedOracle = oracle;
  context.trim(seq, 3);
  oracle.trim(3);
  std::vector<float> logits(config.vocab);
  for (int step = 0; step < 20; ++step) {
    DecodeRow row = {seq, static_cast<int32_t>(random() % 48)};
    context.decode(&row, 1, logits.data());
    ASSERT_EQ(logits, oracle.decode(row.token));
    row = {forked, static_cast<int32_t>(random() % 48)};
    context.decode(&row, 1, logits.data());
    ASSERT_EQ(logits, forkedOracle.decode(row.token));
  }
  // The rebuilt field says what the tokens say.
  const LayerLayout &layout = context.model().layers()[0];
  size_t field = layout.find("page_sum") - layout.components.data();
  context.cache().clear(seq);
  int32_t some[] = {1, 2, 3, 5, 6, 7};
  context.prefill(seq, some, 6, nullptr, nullptr);
  context.trim(seq, 5);
  std::vector<float> sums = readBack<float>(
      context,
      context.cache().slabBase(0, field) +
          seq * layout.components[field].rowBytes(),
      2);
  EXPECT_EQ(sums[0], 1 + 2 + 3 + 1);
  EXPECT_EQ(sums[1], 2);
}

TEST_P(ContextTest, SeveralPromptsInOneSequence) {
  uint32_t seq = context.cache().create();
  toy::Oracle oracle(config);
  std::vector<float> logits(config.vocab);
  for (int turn = 0; turn < 4; ++turn) {
    std::vector<int32_t> ids = randomIds(random, 5 + turn * 7);
    std::vector<float> last(config.vocab);
    context.prefill(seq, ids.data(), ids.size(), nullptr, last.data());
    ASSERT_EQ(last, oracle.logits(oracle.prefill(ids).back()));
    for (int step = 0; step < 12; ++step) {
      DecodeRow row = {seq, static_cast<int32_t>(random() % 48)};
      context.decode(&row, 1, logits.data());
      ASSERT_EQ(logits, oracle.decode(row.token)) << turn << " " << step;
      expectExtents(context, seq, oracle);
    }
  }
}

// A step that finds no memory changes nothing and can be done later.
TEST_P(ContextTest, FailedStepsCanBeRepeated) {
  if (device != "cpu")
    GTEST_SKIP() << "see CudaTest";
  auto memory = std::make_shared<FailingMemory>();
  ContextOptions options = toy::smallOptions();
  options.memory = memory;
  Context other(loaded->model, options);
  uint32_t seq = other.cache().create();
  toy::Oracle oracle(config);
  std::vector<float> logits(config.vocab);
  std::vector<int32_t> ids = randomIds(random, 20);
  memory->failAfter = 0;
  EXPECT_EQ(codeOf([&] {
              other.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
            }),
            Code::ResourceExhausted);
  EXPECT_EQ(other.cache().length(seq), 0u);
  other.prefill(seq, ids.data(), ids.size(), nullptr, logits.data());
  ASSERT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
  for (int step = 0; step < 200; ++step) {
    DecodeRow row = {seq, static_cast<int32_t>(random() % 48)};
    memory->failAfter = 0;
    Code code = codeOf([&] { other.decode(&row, 1, logits.data()); });
    memory->failAfter = -1;
    if (code != Code::Ok) {
      ASSERT_EQ(code, Code::ResourceExhausted);
      other.decode(&row, 1, logits.data());
    }
    ASSERT_EQ(logits, oracle.decode(row.token));
  }
  EXPECT_FALSE(other.poisoned());
}

TEST_P(ContextTest, DoesNotDependOnTheThreads) {
  std::vector<int32_t> ids = randomIds(random, 50);
  std::vector<std::vector<float>> results;
  for (unsigned threads : {1u, 2u, 4u}) {
    ContextOptions options = toy::smallOptions();
    options.threads = threads;
    Context other(loaded->model, options);
    uint32_t seq = other.cache().create();
    std::vector<float> logits(config.vocab);
    other.prefill(seq, ids.data(), ids.size(), nullptr, logits.data());
    results.push_back(logits);
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

INSTANTIATE_TEST_SUITE_P(Policies, ContextTest,
                         testing::Combine(testing::Range(0, 5),
                                          testing::Values("cpu", "cuda", "card")));

class StepTest : public testing::Test {
protected:
  toy::Config config;
  std::unique_ptr<toy::LoadedModel> loaded = toy::load(config);
  Context context{loaded->model, toy::smallOptions()};
  std::vector<int32_t> ids = std::vector<int32_t>(30, 5);
};

TEST_F(StepTest, RefusesBadArguments) {
  uint32_t seq = context.cache().create();
  EXPECT_EQ(
      codeOf([&] { context.prefill(3, ids.data(), 1, nullptr, nullptr); }),
      Code::InvalidArgument);
  EXPECT_EQ(
      codeOf([&] { context.prefill(99, ids.data(), 1, nullptr, nullptr); }),
      Code::InvalidArgument);
  EXPECT_EQ(
      codeOf([&] { context.prefill(seq, ids.data(), 0, nullptr, nullptr); }),
      Code::InvalidArgument);
  for (int32_t bad : {-1, 48, INT32_MAX, INT32_MIN}) {
    ids[29] = bad;
    EXPECT_EQ(
        codeOf([&] { context.prefill(seq, ids.data(), 30, nullptr, nullptr); }),
        Code::InvalidArgument);
    DecodeRow row = {seq, bad};
    EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }),
              Code::InvalidArgument);
  }
  DecodeRow twice[] = {{seq, 1}, {seq, 2}};
  EXPECT_EQ(codeOf([&] { context.decode(twice, 2, nullptr); }),
            Code::InvalidArgument);
  EXPECT_EQ(context.cache().length(seq), 0u);
  EXPECT_EQ(context.cache().usage().pages, 0u);
}

TEST_F(StepTest, RefusesBeyondTheContext) {
  uint32_t seq = context.cache().create();
  std::vector<int32_t> full(256, 1);
  full.push_back(1);
  EXPECT_EQ(
      codeOf([&] { context.prefill(seq, full.data(), 257, nullptr, nullptr); }),
      Code::OutOfRange);
  EXPECT_EQ(context.cache().length(seq), 0u);
  context.prefill(seq, full.data(), 255, nullptr, nullptr);
  DecodeRow row = {seq, 1};
  context.decode(&row, 1, nullptr);
  EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }),
            Code::OutOfRange);
}

TEST_F(StepTest, CancelStopsOneStep) {
  uint32_t seq = context.cache().create();
  context.cancel();
  EXPECT_EQ(
      codeOf([&] { context.prefill(seq, ids.data(), 30, nullptr, nullptr); }),
      Code::Cancelled);
  EXPECT_EQ(context.cache().length(seq), 0u);
  context.prefill(seq, ids.data(), 30, nullptr, nullptr);
  context.cancel();
  DecodeRow row = {seq, 1};
  EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }), Code::Cancelled);
  EXPECT_EQ(context.cache().length(seq), 30u);
  context.decode(&row, 1, nullptr);
}

// Cancelled while it runs, a prompt keeps its whole chunks and can go on.
TEST_F(StepTest, CancelStopsBetweenChunks) {
  struct Cancelling : ThreadPool {
    Cancelling() : ThreadPool(1) {}
    void run(int64_t tasks, Body body, void *data) override {
      if (target && --countdown == 0)
        target->cancel();
      ThreadPool::run(tasks, body, data);
    }
    Context *target = nullptr;
    int countdown = 6;
  };
  auto pool = std::make_shared<Cancelling>();
  ContextOptions options = toy::smallOptions();
  options.parallel = pool;
  Context other(loaded->model, options);
  pool->target = &other;
  uint32_t seq = other.cache().create();
  // Four steps a chunk: cancelled in the second of four chunks.
  EXPECT_EQ(
      codeOf([&] { other.prefill(seq, ids.data(), 30, nullptr, nullptr); }),
      Code::Cancelled);
  EXPECT_EQ(other.cache().length(seq), 16u);
  std::vector<float> logits(48);
  other.prefill(seq, ids.data() + 16, 14, nullptr, logits.data());
  toy::Oracle oracle(config);
  EXPECT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
}

TEST_F(StepTest, AKernelsStatusPoisonsTheContext) {
  toy::Artifact artifact = toy::makeArtifact(config);
  artifact.plans["decode_b1"]["steps"][0]["kernel"] = "set_status";
  toy::TempDir dir;
  artifact.write(dir.path());
  Context other(std::make_shared<Model>(dir.path(), LoadOptions()),
                toy::smallOptions());
  uint32_t seq = other.cache().create();
  other.prefill(seq, ids.data(), 3, nullptr, nullptr);
  DecodeRow row = {seq, 1};
  EXPECT_EQ(codeOf([&] { other.decode(&row, 1, nullptr); }), Code::Internal);
  EXPECT_TRUE(other.poisoned());
  EXPECT_EQ(codeOf([&] { other.decode(&row, 1, nullptr); }),
            Code::FailedPrecondition);
  EXPECT_EQ(
      codeOf([&] { other.prefill(seq, ids.data(), 1, nullptr, nullptr); }),
      Code::FailedPrecondition);
  float hidden[8] = {}, logits[48];
  EXPECT_EQ(codeOf([&] { other.logits(hidden, 1, logits); }),
            Code::FailedPrecondition);
}

TEST_F(StepTest, KernelsThatMiscountAreFound) {
  toy::Artifact artifact = toy::makeArtifact(config);
  artifact.plans["decode_b1"]["steps"].erase(0);
  toy::TempDir dir;
  artifact.write(dir.path());
  Context other(std::make_shared<Model>(dir.path(), LoadOptions()),
                toy::smallOptions());
  uint32_t seq = other.cache().create();
  DecodeRow row = {seq, 1};
  EXPECT_EQ(codeOf([&] { other.decode(&row, 1, nullptr); }), Code::Internal);
  EXPECT_TRUE(other.poisoned());
}

TEST_F(StepTest, FilledSequencesDecode) {
  uint32_t seq = context.cache().create();
  context.fillRandom(seq, 101, 7);
  EXPECT_EQ(context.cache().length(seq), 101u);
  EXPECT_EQ(context.cache().pages(seq, 1, 1), 26u);
  // Numbers in [-1, 1), not all the same, and the same again.
  const float *page = reinterpret_cast<const float *>(
      context.cache().keyBase(0) + context.cache().pageAt(seq, 0, 1, 3) * 128);
  std::set<float> values(page, page + 32);
  EXPECT_GT(values.size(), 30u);
  EXPECT_GE(*values.begin(), -1);
  EXPECT_LT(*values.rbegin(), 1);
  DecodeRow row = {seq, 1};
  std::vector<float> a(48), b(48);
  context.decode(&row, 1, a.data());
  EXPECT_EQ(codeOf([&] { context.fillRandom(seq, 5, 7); }),
            Code::FailedPrecondition);
  context.cache().clear(seq);
  context.fillRandom(seq, 101, 7);
  context.decode(&row, 1, b.data());
  EXPECT_EQ(a, b);
  EXPECT_EQ(
      codeOf([&] { context.fillRandom(context.cache().create(), 300, 7); }),
      Code::OutOfRange);
  auto capped = toy::load(toy::cappedConfig("end"));
  Context other(capped->model, toy::smallOptions());
  EXPECT_EQ(codeOf([&] { other.fillRandom(other.cache().create(), 5, 7); }),
            Code::Unimplemented);
}

// The head as a matrix product: integers, so every form gives the same.
TEST_F(StepTest, GemmStepsEqualKernels) {
  std::vector<float> hidden(7 * config.hidden());
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = static_cast<float>(i % 11) - 4;
  std::vector<float> expected(7 * config.vocab);
  context.logits(hidden.data(), 7, expected.data());
  for (const char *dtype : {"f32", "bf16"}) {
    toy::Config other = config;
    other.gemm = dtype;
    auto model = toy::load(other);
    Context withGemm(model->model, toy::smallOptions());
    std::vector<float> logits(7 * config.vocab);
    withGemm.logits(hidden.data(), 7, logits.data());
    EXPECT_EQ(logits, expected) << dtype;
  }
}

TEST_F(StepTest, EveryFailedAllocationOfTheConstructorIsClean) {
  for (int64_t k = 0;; ++k) {
    auto memory = std::make_shared<FailingMemory>();
    memory->failAfter = k;
    ContextOptions options = toy::smallOptions();
    options.memory = memory;
    Code code = codeOf([&] { Context other(loaded->model, options); });
    EXPECT_EQ(memory->reserved, 0) << "leak at call " << k;
    if (code == Code::Ok) {
      EXPECT_GT(k, 15);
      break;
    }
    EXPECT_EQ(code, Code::ResourceExhausted);
  }
}

} // namespace
