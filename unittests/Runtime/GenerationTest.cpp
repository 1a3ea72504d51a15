//===- GenerationTest.cpp - Steps that choose their tokens themselves -----===//

#include "Context.h"
#include "CudaCard.h"
#include "FakeCuda.h"
#include "TestUtil.h"
#include "ToyModel.h"
#include "cuda/CudaMemory.h"

#include <algorithm>
#include <random>

using namespace sparse::runtime;

namespace {

int32_t best(const std::vector<float> &logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                              logits.begin());
}

/// One sequence of a context with its oracle.
struct Text {
  Text(Context &context, const toy::Config &config, std::vector<int32_t> prompt)
      : oracle(config), seq(context.cache().create()) {
    std::vector<float> logits(config.vocab);
    context.prefill(seq, prompt.data(), prompt.size(), nullptr, logits.data());
    EXPECT_EQ(logits, oracle.logits(oracle.prefill(prompt).back()));
    next = best(logits);
  }

  GenerateRow row(std::vector<int32_t> stops = {}) const {
    return {seq, next, Sampling(), 1, std::move(stops)};
  }

  /// What the step chooses that appends `next`.
  int32_t step() { return next = best(oracle.decode(next)); }

  toy::Oracle oracle;
  uint32_t seq;
  int32_t next = 0;
};

/// Where steps run, and whether the artifact has samplers.
struct Place {
  const char *device;
  bool samplers;
};

/// 0: dense; 1: with caps.
class GenerationTest : public testing::TestWithParam<std::tuple<int, Place>> {
protected:
  void SetUp() override {
    if (device == "card" && !toy::hasCard())
      GTEST_SKIP() << "there is no card, or no code for it";
  }

  LoadOptions options() const {
    LoadOptions options;
    options.device = device == "cpu" ? "cpu" : "cuda";
    options.cuda =
        device == "card" && toy::hasCard() ? nullptr : fake::platform();
    return options;
  }

  /// After a generation: the cache is the oracle's, and goes on like it.
  void expectEqual(Text &text) {
    EXPECT_EQ(context.cache().length(text.seq), text.oracle.length());
    for (uint32_t l = 0; l < config.layers.size(); ++l)
      for (uint32_t h = 0; h < config.heads(); ++h)
        ASSERT_EQ(context.cache().extent(text.seq, l, h),
                  text.oracle.extent(l, h));
    std::vector<float> logits(config.vocab);
    for (int i = 0; i < 6; ++i) {
      DecodeRow row = {text.seq, text.next};
      context.decode(&row, 1, logits.data());
      ASSERT_EQ(logits, text.oracle.decode(text.next)) << i;
      text.next = best(logits);
    }
  }

  std::string device = std::get<1>(GetParam()).device;
  toy::Config config = [&] {
    toy::Config config =
        std::get<0>(GetParam()) ? toy::cappedConfig("end") : toy::Config();
    config.cuda = device != "cpu";
    config.samplers = std::get<1>(GetParam()).samplers;
    if (device == "card" && toy::hasCard())
      config.cudaCode = toy::cardCode();
    return config;
  }();
  std::unique_ptr<toy::LoadedModel> loaded = toy::load(config, options());
  Context context{loaded->model, toy::smallOptions()};
  std::mt19937 random{static_cast<unsigned>(3 + std::get<0>(GetParam()))};
};

// However far ahead steps are queued, tokens and caches are those of steps that
// are read one by one.
TEST_P(GenerationTest, EqualsStepsThatAreReadOneByOne) {
  for (size_t n : {1, 2, 3, 4})
    for (size_t most : {1, 2, 8}) {
      std::vector<Text> texts;
      std::vector<GenerateRow> rows;
      for (size_t i = 0; i < n; ++i) {
        std::vector<int32_t> prompt(1 + random() % 30);
        for (int32_t &id : prompt)
          id = static_cast<int32_t>(random() % 48);
        texts.emplace_back(context, config, prompt);
        rows.push_back(texts.back().row());
      }
      context.beginGeneration(rows.data(), n);
      std::vector<int32_t> tokens(n);
      const size_t steps = 40;
      for (size_t queued = 0, read = 0; read < steps;) {
        if (queued < steps && queued - read < most) {
          context.queueStep();
          ++queued;
          continue;
        }
        context.readStep(tokens.data());
        for (size_t i = 0; i < n; ++i)
          ASSERT_EQ(tokens[i], texts[i].step())
              << "row " << i << " step " << read;
        ++read;
      }
      context.endGeneration();
      for (Text &text : texts) {
        expectEqual(text);
        context.cache().destroy(text.seq);
      }
    }
}

// A row that ends is read one step late; the step that was queued meanwhile
// does nothing for it, and goes on for the others.
TEST_P(GenerationTest, RowsEndWithoutATrace) {
  Text a(context, config, {1, 2, 3, 4, 5}), b(context, config, {7, 8, 9});
  // Find a token that comes up later.
  Text probe(context, config, {1, 2, 3, 4, 5});
  std::vector<int32_t> chain;
  for (int i = 0; i < 12; ++i)
    chain.push_back(probe.step());
  int32_t stop = chain[9];
  size_t ends = std::find(chain.begin(), chain.end(), stop) - chain.begin();
  std::vector<GenerateRow> rows = {a.row({47, stop}), b.row()};
  context.beginGeneration(rows.data(), 2);
  std::vector<int32_t> tokens(2);
  context.queueStep();
  for (size_t i = 0; i < 20; ++i) {
    context.queueStep();
    context.readStep(tokens.data());
    ASSERT_EQ(tokens[0], i <= ends ? a.step() : -1) << i;
    ASSERT_EQ(tokens[1], b.step()) << i;
  }
  context.readStep(tokens.data());
  EXPECT_EQ(tokens[0], -1);
  ASSERT_EQ(tokens[1], b.step());
  context.endGeneration();
  // What ended the row was chosen and never appended.
  EXPECT_EQ(context.cache().length(a.seq), 5 + ends + 1);
  a.next = stop;
  expectEqual(a);
  expectEqual(b);
}

TEST_P(GenerationTest, EndsWhenAllRowsHaveEnded) {
  Text text(context, config, {1, 2, 3});
  int32_t first = Text(context, config, {1, 2, 3}).step();
  GenerateRow row = text.row({first});
  context.beginGeneration(&row, 1);
  context.queueStep();
  context.queueStep();
  int32_t token = 0;
  context.readStep(&token);
  EXPECT_EQ(token, first);
  EXPECT_EQ(codeOf([&] { context.queueStep(); }), Code::FailedPrecondition);
  context.readStep(&token);
  EXPECT_EQ(token, -1);
  EXPECT_EQ(codeOf([&] { context.readStep(&token); }),
            Code::FailedPrecondition);
  context.endGeneration();
  text.step();
  expectEqual(text);
}

// Steps that were not read have been appended all the same.
TEST_P(GenerationTest, EndWaitsForWhatWasQueued) {
  Text text(context, config, {1, 2, 3});
  GenerateRow row = text.row();
  context.beginGeneration(&row, 1);
  for (int i = 0; i < 5; ++i)
    context.queueStep();
  context.endGeneration();
  for (int i = 0; i < 5; ++i)
    text.step();
  expectEqual(text);
}

TEST_P(GenerationTest, RefusesTheStepPastTheContext) {
  std::vector<int32_t> prompt(config.maxContext - 3, 5);
  Text text(context, config, prompt);
  GenerateRow row = text.row();
  context.beginGeneration(&row, 1);
  for (int i = 0; i < 3; ++i)
    context.queueStep();
  EXPECT_EQ(codeOf([&] { context.queueStep(); }), Code::OutOfRange);
  int32_t token = 0;
  for (int i = 0; i < 3; ++i) {
    context.readStep(&token);
    EXPECT_EQ(token, text.step());
  }
  EXPECT_EQ(codeOf([&] { context.queueStep(); }), Code::OutOfRange);
  context.endGeneration();
  EXPECT_FALSE(context.poisoned());
  EXPECT_EQ(context.cache().length(text.seq), text.oracle.length());
}

// Pages of the step ahead that are not there refuse that step and nothing else.
TEST_P(GenerationTest, RefusesTheStepWithoutPages) {
  ContextOptions tight = toy::smallOptions();
  tight.limitBytes = 8 << 10;
  Context small(loaded->model, tight);
  Text text(small, config, {1, 2, 3, 4, 5, 6, 7, 8});
  GenerateRow row = text.row();
  small.beginGeneration(&row, 1);
  size_t queued = 0, read = 0;
  int32_t token = 0;
  Code code = Code::Ok;
  while (code == Code::Ok && read < 200) {
    code = codeOf([&] { small.queueStep(); });
    queued += code == Code::Ok;
    if (queued - read > 2) {
      small.readStep(&token);
      ASSERT_EQ(token, text.step());
      ++read;
    }
  }
  if (std::get<0>(GetParam()) == 0) {
    EXPECT_EQ(code, Code::ResourceExhausted);
  }
  for (; read < queued; ++read) {
    small.readStep(&token);
    ASSERT_EQ(token, text.step());
  }
  small.endGeneration();
  EXPECT_FALSE(small.poisoned());
  EXPECT_EQ(small.cache().length(text.seq), text.oracle.length());
}

TEST_P(GenerationTest, RefusesWhatWouldDisturbIt) {
  Text text(context, config, {1, 2, 3}), other(context, config, {4, 5});
  GenerateRow row = text.row();
  context.beginGeneration(&row, 1);
  context.queueStep();
  auto refuses = [&](auto fn) {
    EXPECT_EQ(codeOf(fn), Code::FailedPrecondition);
  };
  DecodeRow decode = {text.seq, 1};
  int32_t id = 1;
  refuses([&] { context.decode(&decode, 1, nullptr); });
  refuses([&] { context.decodeKnown(&text.seq, 1, &id, 1, nullptr); });
  refuses([&] { context.beginGeneration(&row, 1); });
  refuses([&] { context.prefill(text.seq, &id, 1, nullptr, nullptr); });
  refuses([&] { context.trim(text.seq, 1); });
  refuses([&] { context.requireFree(text.seq); });
  for (size_t i = 1; i < Executor::mostQueued; ++i)
    context.queueStep();
  refuses([&] { context.queueStep(); });
  // A prompt of another sequence can come between.
  std::vector<int32_t> prompt = {6, 7, 8, 9, 10, 11, 12, 13, 14};
  std::vector<float> logits(config.vocab);
  context.prefill(other.seq, prompt.data(), prompt.size(), nullptr,
                  logits.data());
  EXPECT_EQ(logits, other.oracle.logits(other.oracle.prefill(prompt).back()));
  int32_t token = 0;
  for (size_t i = 0; i < Executor::mostQueued; ++i) {
    context.readStep(&token);
    ASSERT_EQ(token, text.step());
  }
  context.cancel();
  EXPECT_EQ(codeOf([&] { context.queueStep(); }), Code::Cancelled);
  context.queueStep();
  context.readStep(&token);
  ASSERT_EQ(token, text.step());
  context.endGeneration();
  context.endGeneration();
  expectEqual(text);
}

// Steps of other sequences come between, at any number of steps ahead.
TEST_P(GenerationTest, GoesOnAfterOtherSteps) {
  Text a(context, config, {1, 2, 3}), b(context, config, {9, 8, 7, 6}),
      other(context, config, {4, 5});
  Text probe(context, config, {1, 2, 3});
  int32_t stop = 0;
  for (int i = 0; i < 5; ++i)
    stop = probe.step();
  std::vector<GenerateRow> rows = {a.row({stop}), b.row()};
  context.beginGeneration(rows.data(), 2);
  std::vector<float> logits(config.vocab);
  std::vector<int32_t> tokens(2);
  bool goesOn = true;
  auto read = [&] {
    context.readStep(tokens.data());
    ASSERT_EQ(tokens[0], goesOn ? a.step() : -1);
    goesOn = goesOn && tokens[0] != stop;
    ASSERT_EQ(tokens[1], b.step());
  };
  for (int i = 0; i < 20; ++i) {
    for (int ahead = 0; ahead <= i % 4; ++ahead)
      context.queueStep();
    DecodeRow row = {other.seq, other.next};
    if (i % 5 == 4)
      context.decodeKnown(&other.seq, 1, &other.next, 1, logits.data());
    else
      context.decode(&row, 1, logits.data());
    ASSERT_EQ(logits, other.oracle.decode(other.next));
    other.next = best(logits);
    if (i % 3 == 0)
      context.queueStep();
    for (int ahead = 0; ahead <= i % 4; ++ahead)
      read();
    if (i % 3 == 0)
      read();
  }
  context.endGeneration();
  expectEqual(a);
  expectEqual(b);
  expectEqual(other);
}

TEST_P(GenerationTest, RefusesBadRows) {
  Text text(context, config, {1, 2, 3});
  auto begin = [&](const std::function<void(GenerateRow &)> &change) {
    GenerateRow row = text.row();
    change(row);
    return codeOf([&] { context.beginGeneration(&row, 1); });
  };
  EXPECT_EQ(begin([](GenerateRow &row) { row.seq = 7; }),
            Code::InvalidArgument);
  EXPECT_EQ(begin([](GenerateRow &row) { row.token = 48; }),
            Code::InvalidArgument);
  EXPECT_EQ(begin([](GenerateRow &row) { row.sampling.temperature = -1; }),
            Code::InvalidArgument);
  EXPECT_EQ(begin([](GenerateRow &row) { row.sampling.topP = 0; }),
            Code::InvalidArgument);
  EXPECT_EQ(begin([](GenerateRow &row) { row.stops.resize(9); }),
            Code::InvalidArgument);
  std::vector<GenerateRow> twice(2, text.row()), many(5, text.row());
  for (size_t i = 0; i < many.size(); ++i)
    many[i].seq = context.cache().create();
  EXPECT_EQ(codeOf([&] { context.beginGeneration(twice.data(), 2); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { context.beginGeneration(many.data(), 5); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { context.queueStep(); }), Code::FailedPrecondition);
  EXPECT_EQ(begin([](GenerateRow &) {}), Code::Ok);
  context.endGeneration();
}

INSTANTIATE_TEST_SUITE_P(
    Places, GenerationTest,
    testing::Combine(testing::Values(0, 1),
                     testing::Values(Place{"cpu", true}, Place{"cpu", false},
                                     Place{"cuda", true}, Place{"cuda", false},
                                     Place{"card", true})));

//===----------------------------------------------------------------------===//
// On a device
//===----------------------------------------------------------------------===//

class DeviceGenerationTest : public testing::Test {
protected:
  DeviceGenerationTest() {
    fake::reset();
    config.cuda = true;
    options.device = "cuda";
    options.cuda = fake::platform();
    loaded = toy::load(config, options);
    create.checkCounts = false;
  }
  ~DeviceGenerationTest() override {
    loaded.reset();
    EXPECT_TRUE(fake::isClean());
  }

  toy::Config config;
  LoadOptions options;
  ContextOptions create = toy::smallOptions();
  std::unique_ptr<toy::LoadedModel> loaded;
};

// A step is one graph, its tokens' copy and a mark; pages travel through pinned
// memory. Nothing waits.
TEST_F(DeviceGenerationTest, NothingWaitsInAStep) {
  Context context(loaded->model, create);
  Text text(context, config, {1, 2, 3, 4, 5});
  GenerateRow row = text.row();
  context.beginGeneration(&row, 1);
  context.queueStep();
  fake::card().calls.clear();
  fake::card().order.clear();
  fake::card().pageableCopies = 0;
  for (int i = 1; i < 8; ++i)
    context.queueStep();
  auto &calls = fake::card().calls;
  EXPECT_EQ(calls["graphLaunch"], 7u);
  EXPECT_EQ(calls["copyToHost"], 7u);
  EXPECT_EQ(calls["eventRecord"], 7u);
  EXPECT_GT(calls["copy2D"], 0u) << "some steps need a page";
  for (const char *call : {"streamSynchronize", "eventSynchronize", "launch",
                           "hostAlloc", "graphInstantiate", "copyToDevice"})
    EXPECT_EQ(calls[call], 0u) << call;
  EXPECT_EQ(fake::card().pageableCopies, 0u);
  // The page table of a step travels before it.
  std::vector<std::string> order = fake::card().order;
  auto firstCopy = std::find(order.begin(), order.end(), "copy2D");
  auto lastLaunch = std::find(order.rbegin(), order.rend(), "graphLaunch");
  EXPECT_LT(firstCopy - order.begin(), order.rend() - lastLaunch);
  // The first read waits for the first step alone.
  int32_t token = 0;
  fake::card().calls.clear();
  context.readStep(&token);
  EXPECT_EQ(token, text.step());
  EXPECT_EQ(calls["eventSynchronize"], 1u);
  EXPECT_EQ(calls["streamSynchronize"], 0u);
  context.endGeneration();
}

// Parts of the ring of uploads are used again only when the card has read them.
TEST_F(DeviceGenerationTest, UploadsAreNotOverwritten) {
  auto card = std::make_shared<cuda::Card>(*fake::platform()->driver, 0);
  {
    cuda::CudaMemory memory(card);
    uint64_t bytes = 1 << 20, piece = 24 << 10;
    Region region(memory, bytes, Backing::Whole, false);
    std::vector<uint8_t> all(bytes), back(bytes);
    std::mt19937 random(1);
    for (uint8_t &byte : all)
      byte = static_cast<uint8_t>(random());
    for (uint64_t at = 0; at < bytes; at += piece) {
      uint64_t now = std::min(piece, bytes - at);
      std::vector<uint8_t> source(all.begin() + at, all.begin() + at + now);
      memory.upload(region.data() + at, source.data(), Rows(now));
      std::fill(source.begin(), source.end(), 0);
    }
    memory.download(back.data(), region.data(), bytes);
    EXPECT_EQ(back, all);
    // Rows of a larger one, and more than a part holds.
    std::vector<uint8_t> wide(300 << 10, 7);
    memory.upload(region.data(), wide.data(), Rows(wide.size()));
    memory.upload(region.data() + 16, all.data(), Rows(8, 1000, 64));
    memory.download(back.data(), region.data(), bytes);
    for (uint64_t i = 0; i < 1000 * 64; ++i)
      ASSERT_EQ(back[i], i >= 16 && (i - 16) % 64 < 8 ? all[i - 16] : 7) << i;
  }
}

TEST_F(DeviceGenerationTest, CountersAndSamplingReachTheDevice) {
  Context context(loaded->model, create);
  Text a(context, config, {1, 2, 3}), b(context, config, {4, 5});
  // The toy's sampler adds the counter to the best token when it is warm.
  std::vector<GenerateRow> rows = {a.row(), b.row()};
  rows[0].sampling.temperature = 1;
  rows[0].index = 5;
  context.beginGeneration(rows.data(), 2);
  for (int i = 0; i < 6; ++i)
    context.queueStep();
  std::vector<int32_t> tokens(2);
  for (int i = 0; i < 6; ++i) {
    context.readStep(tokens.data());
    a.next = (a.step() + 5 + i) % 48;
    EXPECT_EQ(tokens[0], a.next) << i;
    EXPECT_EQ(tokens[1], b.step()) << i;
  }
  context.endGeneration();
}

class InFlightTest : public DeviceGenerationTest,
                     public testing::WithParamInterface<const char *> {};

// A fault of a step that was queued is told when it is read, and poisons.
TEST_P(InFlightTest, FaultsPoison) {
  Context context(loaded->model, create);
  Text text(context, config, {1, 2, 3});
  GenerateRow row = text.row();
  context.beginGeneration(&row, 1);
  context.queueStep();
  int32_t token = 0;
  context.readStep(&token);
  EXPECT_EQ(token, text.step());
  std::string call = GetParam();
  if (call == "kernel") {
    fake::card().fault = 1;
  } else {
    fake::card().failing = call;
    fake::card().error = 700;
  }
  std::string message;
  Code code = codeOf([&] { context.queueStep(); }, &message);
  if (code == Code::Ok)
    code = codeOf([&] { context.readStep(&token); }, &message);
  EXPECT_EQ(code, Code::Internal);
  EXPECT_NE(message.find("CUDA_ERROR_ILLEGAL_ADDRESS"), std::string::npos)
      << message;
  EXPECT_TRUE(context.poisoned());
  fake::card().failing = "";
  EXPECT_EQ(codeOf([&] { context.queueStep(); }), Code::FailedPrecondition);
  context.endGeneration();
  context.cache().destroy(text.seq);
  EXPECT_EQ(context.cache().usage().pages, 0u);
}

INSTANTIATE_TEST_SUITE_P(Calls, InFlightTest,
                         testing::Values("kernel", "graphLaunch", "copyToHost",
                                         "eventRecord", "eventSynchronize"));

TEST_F(DeviceGenerationTest, BeginsWithoutMemoryCanBeRepeated) {
  Context context(loaded->model, create);
  Text text(context, config, {1, 2, 3});
  GenerateRow row = text.row();
  for (const char *call : {"hostAlloc", "eventCreate", "graphInstantiate"}) {
    fake::card().failing = call;
    fake::card().error = 2;
    EXPECT_EQ(codeOf([&] { context.beginGeneration(&row, 1); }),
              Code::ResourceExhausted)
        << call;
    EXPECT_FALSE(context.poisoned());
    fake::card().failing = "";
  }
  context.beginGeneration(&row, 1);
  context.queueStep();
  int32_t token = 0;
  context.readStep(&token);
  EXPECT_EQ(token, text.step());
  context.endGeneration();
}

TEST_F(DeviceGenerationTest, AStatusOfAStepAheadIsTold) {
  toy::Artifact artifact = toy::makeArtifact(config);
  artifact.cudaPlans["decode_b1"]["steps"][0]["kernel"] = "set_status";
  toy::TempDir dir;
  artifact.write(dir.path());
  Context context(std::make_shared<Model>(dir.path(), options), create);
  GenerateRow row = {context.cache().create(), 1, Sampling(), 0, {}};
  context.beginGeneration(&row, 1);
  context.queueStep();
  int32_t token = 0;
  EXPECT_EQ(codeOf([&] { context.readStep(&token); }), Code::Internal);
  EXPECT_TRUE(context.poisoned());
}

} // namespace
