//===- SessionTest.cpp - Sequences that leave and come back ---------------===//

#include "Session.h"

#include "sparse-opt/runtime.hpp"

#include "CacheImage.h"
#include "FakeCuda.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <cstring>
#include <random>
#include <set>

using namespace sparse::runtime;
using toy::Artifact;

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

/// A model on a device, and what it says after each token of a text.
class Texts {
public:
  Texts(const toy::Config &config, const LoadOptions &load, const char *kind)
      : loaded(toy::load(config, load)), context(makeContext()) {
    std::mt19937 random(static_cast<unsigned>(kind[0]));
    for (int i = 0; i < 60; ++i)
      ids.push_back(static_cast<int32_t>(random() % 48));
  }
  std::unique_ptr<Context> makeContext() const {
    return std::make_unique<Context>(loaded->model, toy::smallOptions());
  }
  static std::vector<float> decode(Context &context, uint32_t seq, int32_t id) {
    std::vector<float> logits(48);
    DecodeRow row = {seq, id};
    context.decode(&row, 1, logits.data());
    return logits;
  }
  uint32_t prompt(Context &context, size_t n) const {
    uint32_t seq = context.cache().create();
    context.prefill(seq, ids.data(), n, nullptr, nullptr);
    return seq;
  }

  std::unique_ptr<toy::LoadedModel> loaded;
  std::unique_ptr<Context> context;
  std::vector<int32_t> ids;
};

using Kind = std::tuple<const char *, const char *>;

class SessionTest : public testing::TestWithParam<Kind> {
protected:
  SessionTest() {
    config = configOf(std::get<0>(GetParam()));
    config.cuda = std::get<1>(GetParam()) == std::string("cuda");
    options.device = std::get<1>(GetParam());
    options.cuda = fake::platform();
  }
  toy::Config config;
  LoadOptions options;
  toy::TempDir dir;
  std::string path = dir.path() + "/one.session";
};

// R17 (the part within a process): saved after each of 20 steps, the text goes
// on with the same logits in another context.
TEST_P(SessionTest, R17_GoesOnAfterEachStep) {
  Texts texts(config, options, std::get<0>(GetParam()));
  Context &context = *texts.context;
  uint32_t seq = texts.prompt(context, 19);
  std::vector<std::vector<float>> expected;
  std::vector<std::string> paths;
  for (size_t i = 19; i < 60; ++i) {
    if (i < 19 + 20) {
      paths.push_back(path + std::to_string(i));
      saveSequence(context, seq, paths.back(), "");
    }
    expected.push_back(Texts::decode(context, seq, texts.ids[i]));
  }
  for (size_t step = 0; step < paths.size(); ++step) {
    std::unique_ptr<Context> other = texts.makeContext();
    // Pages and rows are not those that the sequence had.
    uint32_t neighbour = texts.prompt(*other, 5);
    SessionFile session(paths[step]);
    uint32_t restored = restoreSequence(*other, session);
    ASSERT_EQ(other->cache().length(restored), 19 + step);
    other->cache().checkCounts(restored);
    ASSERT_EQ(
        *other->cache().tokens(restored),
        std::vector<int32_t>(texts.ids.begin(),
                             texts.ids.begin() + 19 + static_cast<long>(step)));
    for (size_t i = 19 + step; i < 60; ++i)
      ASSERT_EQ(Texts::decode(*other, restored, texts.ids[i]), expected[i - 19])
          << "saved after " << step << " steps, token " << i;
    other->cache().destroy(restored);
    other->cache().destroy(neighbour);
    ASSERT_EQ(other->cache().usage().pages, 0u);
  }
}

// Another prompt after a restore, a fork of it and a second save of it.
TEST_P(SessionTest, WorksAsAnySequence) {
  Texts texts(config, options, std::get<0>(GetParam()));
  Context &context = *texts.context;
  uint32_t seq = texts.prompt(context, 13);
  saveSequence(context, seq, path, "a note");
  SessionFile session(path);
  EXPECT_EQ(session.note(), "a note");
  uint32_t restored = restoreSequence(context, session);
  saveSequence(context, restored, path + "2", "a note");
  EXPECT_EQ(Artifact::readFile(path), Artifact::readFile(path + "2"));
  uint32_t forked = context.cache().fork(restored);
  std::vector<float> logits(48), again(48);
  context.prefill(seq, texts.ids.data() + 13, 20, nullptr, logits.data());
  for (uint32_t one : {restored, forked}) {
    context.prefill(one, texts.ids.data() + 13, 20, nullptr, again.data());
    EXPECT_EQ(again, logits);
    for (size_t i = 33; i < 40; ++i)
      again = Texts::decode(context, one, texts.ids[i]);
  }
  for (size_t i = 33; i < 40; ++i)
    logits = Texts::decode(context, seq, texts.ids[i]);
  EXPECT_EQ(again, logits);
}

TEST_P(SessionTest, EmptyAndUnknown) {
  Texts texts(config, options, std::get<0>(GetParam()));
  Context &context = *texts.context;
  uint32_t empty = context.cache().create();
  saveSequence(context, empty, path, "");
  uint32_t restored = restoreSequence(context, SessionFile(path));
  EXPECT_EQ(context.cache().length(restored), 0u);
  EXPECT_EQ(Texts::decode(context, restored, 7),
            Texts::decode(context, empty, 7));
  if (config.layers[1].caps[0] >= 0)
    return;
  // A sequence whose tokens nobody knows.
  uint32_t filled = context.cache().create();
  context.fillRandom(filled, 21, 3);
  saveSequence(context, filled, path, "");
  SessionFile session(path);
  EXPECT_EQ(session.header().state.tokens.size(), 0u);
  restored = restoreSequence(context, session);
  EXPECT_EQ(Texts::decode(context, restored, 7),
            Texts::decode(context, filled, 7));
}

// A session that does not fit changes nothing, whichever allocation fails.
TEST_P(SessionTest, NoRoom) {
  if (options.device == std::string("cuda"))
    GTEST_SKIP() << "the memory of an application is the host's";
  Texts texts(config, options, std::get<0>(GetParam()));
  saveSequence(*texts.context, texts.prompt(*texts.context, 30), path, "");
  SessionFile session(path);
  ContextOptions small = toy::smallOptions();
  small.limitBytes = 2048;
  Context tight(texts.loaded->model, small);
  texts.prompt(tight, 3);
  toy::CacheImage before(tight.cache());
  EXPECT_EQ(codeOf([&] { restoreSequence(tight, session); }),
            Code::ResourceExhausted);
  EXPECT_TRUE(before.isUnchanged());
  auto memory = std::make_shared<FailingMemory>();
  ContextOptions failing = toy::smallOptions();
  failing.memory = memory;
  Context context(texts.loaded->model, failing);
  std::vector<float> expected;
  int refused = 0;
  for (int64_t k = 0; expected.empty(); ++k) {
    CacheUsage usage = context.cache().usage();
    memory->failAfter = k;
    uint32_t restored = 0;
    Code code = codeOf([&] { restored = restoreSequence(context, session); });
    memory->failAfter = -1;
    if (code == Code::Ok) {
      expected = Texts::decode(context, restored, 5);
      break;
    }
    ++refused;
    EXPECT_EQ(code, Code::ResourceExhausted);
    EXPECT_EQ(context.cache().usage().pages, usage.pages);
  }
  EXPECT_GT(refused, 0);
  uint32_t whole = texts.prompt(*texts.context, 30);
  EXPECT_EQ(Texts::decode(*texts.context, whole, 5), expected);
  ContextOptions one = toy::smallOptions();
  one.maxSequences = 1;
  Context full(texts.loaded->model, one);
  texts.prompt(full, 3);
  EXPECT_EQ(codeOf([&] { restoreSequence(full, session); }),
            Code::ResourceExhausted);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, SessionTest,
    testing::Combine(testing::Values("dense", "none", "end", "chunk", "mixed"),
                     testing::Values("cpu", "cuda")),
    [](const testing::TestParamInfo<Kind> &info) {
      return std::string(std::get<0>(info.param)) + "_" +
             std::get<1>(info.param);
    });

//===----------------------------------------------------------------------===//
// Refusals
//===----------------------------------------------------------------------===//

class SessionOrigin : public testing::Test {
protected:
  toy::TempDir dir;
  std::string path = dir.path() + "/one.session", message;
};

TEST_F(SessionOrigin, AnotherModel) {
  Texts texts(toy::Config(), LoadOptions(), "a");
  saveSequence(*texts.context, texts.prompt(*texts.context, 9), path, "");
  // Of the same shape, with other code.
  toy::TempDir other;
  Artifact artifact = toy::makeArtifact(toy::Config());
  artifact.manifest["source"]["name"] = "another.onnx";
  artifact.write(other.path());
  Context context(std::make_shared<Model>(other.path(), LoadOptions()),
                  toy::smallOptions());
  texts.prompt(context, 4);
  toy::CacheImage before(context.cache());
  EXPECT_EQ(
      codeOf([&] { restoreSequence(context, SessionFile(path)); }, &message),
      Code::Incompatible);
  EXPECT_NE(message.find("another model"), std::string::npos) << message;
  EXPECT_TRUE(before.isUnchanged());
}

TEST_F(SessionOrigin, AnotherDevice) {
  toy::Config config;
  config.cuda = true;
  toy::TempDir model;
  toy::makeArtifact(config).write(model.path());
  LoadOptions onCard;
  onCard.device = "cuda";
  onCard.cuda = fake::platform();
  Context host(std::make_shared<Model>(model.path(), LoadOptions()),
               toy::smallOptions());
  Context card(std::make_shared<Model>(model.path(), onCard),
               toy::smallOptions());
  std::vector<int32_t> ids = {1, 2, 3, 4, 5};
  Context *const both[] = {&host, &card};
  for (int i = 0; i < 2; ++i) {
    uint32_t seq = both[i]->cache().create();
    both[i]->prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
    saveSequence(*both[i], seq, path, "");
    EXPECT_EQ(codeOf([&] { restoreSequence(*both[1 - i], SessionFile(path)); },
                     &message),
              Code::Incompatible);
    EXPECT_NE(message.find("was saved on device"), std::string::npos);
    restoreSequence(*both[i], SessionFile(path));
  }
}

// Random weights of another seed are another model.
TEST_F(SessionOrigin, Identity) {
  fake::reset();
  toy::Config config;
  config.cuda = true;
  toy::TempDir with, without;
  Artifact artifact = toy::makeArtifact(config);
  artifact.write(with.path());
  std::string text = Artifact::readFile(with.path() + "/manifest.json");
  size_t begin = 0;
  EXPECT_EQ(Model(with.path(), LoadOptions()).identity(),
            manifestDigest(text, "m", begin));
  artifact.manifest["weights"] = "none";
  artifact.files.erase("weights.safetensors");
  for (auto *plans : {&artifact.plans, &artifact.cudaPlans})
    for (auto &plan : *plans)
      for (Json &buffer : plan.second["buffers"])
        if (buffer["kind"] == "weight")
          buffer["dtype"] = "bf16";
  artifact.write(without.path());
  std::set<std::string> identities;
  LoadOptions random;
  random.device = "cuda";
  random.cuda = fake::platform();
  random.randomWeights = true;
  for (random.weightsSeed = 0; random.weightsSeed < 3; ++random.weightsSeed)
    identities.insert(Model(without.path(), random).identity());
  EXPECT_EQ(identities.size(), 3u);
}

TEST_F(SessionOrigin, AFailedCardSavesNothing) {
  fake::reset();
  {
    toy::Config config;
    config.cuda = true;
    LoadOptions onCard;
    onCard.device = "cuda";
    onCard.cuda = fake::platform();
    Texts texts(config, onCard, "a");
    uint32_t seq = texts.prompt(*texts.context, 9);
    saveSequence(*texts.context, seq, path, "");
    std::string before = Artifact::readFile(path);
    fake::card().fault = 700;
    EXPECT_EQ(codeOf([&] { saveSequence(*texts.context, seq, path, ""); }),
              Code::Internal);
    EXPECT_EQ(Artifact::readFile(path), before);
  }
  fake::reset();
}

//===----------------------------------------------------------------------===//
// The C API and its C++ header
//===----------------------------------------------------------------------===//

TEST(SessionApi, SaveAndRestore) {
  toy::TempDir dir;
  toy::makeArtifact(toy::cappedConfig("end")).write(dir.path());
  std::string path = dir.path() + "/chat.session";
  sparse::Model model(dir.path());
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  std::vector<float> expected(48), logits(48);
  {
    sparse::Context context(model);
    sparse::Sequence sequence = context.create();
    context.prefill(sequence, ids.data(), ids.size(), nullptr, nullptr);
    sequence.save(path, std::string("n\0te", 4));
    context.decode({{sequence.get(), 5}}, expected.data());
  }
  sparse::Session session(path);
  EXPECT_EQ(session.tokens(), ids);
  EXPECT_EQ(session.note(), std::string("n\0te", 4));
  Json header = Json::parse(session.header());
  EXPECT_EQ(header["length"], 13);
  EXPECT_EQ(header["device"], "cpu");
  EXPECT_EQ(header["layers"].size(), 3u);
  sparse::Context context(model);
  for (int i = 0; i < 2; ++i) {
    sparse::Sequence sequence = context.restore(session);
    context.decode({{sequence.get(), 5}}, logits.data());
    EXPECT_EQ(logits, expected);
  }
  EXPECT_EQ(context.usage().pages, 0u);

  // Misuse.
  const sparse_api &api = sparse::api();
  sparse::Sequence sequence = context.create();
  sparse_sequence out = 0;
  auto *wrong = reinterpret_cast<sparse_session *>(context.get());
  EXPECT_EQ(api.sequence_save(context.get(), sequence.get(), nullptr, "", 0),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_save(context.get(), 99, path.c_str(), nullptr, 0),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_save(context.get(), sequence.get(), path.c_str(),
                              nullptr, 1),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_restore(context.get(), wrong, &out),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_restore(context.get(), nullptr, &out),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.sequence_restore(context.get(), session.get(), nullptr),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.session_open((path + "none").c_str(), nullptr),
            SPARSE_INVALID_ARGUMENT);
  sparse_session *opened = nullptr;
  EXPECT_EQ(api.session_open((path + "none").c_str(), &opened),
            SPARSE_NOT_FOUND);
  EXPECT_EQ(api.session_open(dir.path().c_str(), &opened),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(api.session_open((dir.path() + "/manifest.json").c_str(), &opened),
            SPARSE_INVALID_ARGUMENT);
  EXPECT_EQ(opened, nullptr);
  EXPECT_EQ(api.session_tokens(session.get(), nullptr, nullptr),
            SPARSE_INVALID_ARGUMENT);
  api.session_close(nullptr);
  api.session_close(wrong);
  EXPECT_EQ(context.threads() > 0, true) << "the context was not closed";
}

// What a generation has queued is not known to the host: it must end first.
TEST(SessionApi, NotInAGeneration) {
  toy::TempDir dir;
  toy::makeArtifact(toy::Config()).write(dir.path());
  std::string path = dir.path() + "/chat.session";
  sparse::Model model(dir.path());
  sparse::Context context(model);
  sparse::Sequence sequence = context.create(), other = context.create();
  sparse_generate_row row = {};
  row.sequence = sequence.get();
  row.token = 6;
  int32_t first = 0;
  {
    sparse::Generation generation(context, {row});
    generation.step();
    first = generation.read()[0];
    generation.step();
    EXPECT_THROW(sequence.save(path), sparse::RuntimeError);
    other.save(path);
    sparse::Sequence restored = context.restore(sparse::Session(path));
    EXPECT_EQ(restored.length(), 0u);
  }
  sequence.save(path);
  EXPECT_EQ(sparse::Session(path).tokens(), (std::vector<int32_t>{6, first}));
}

} // namespace
