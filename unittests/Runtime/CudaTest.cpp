//===- CudaTest.cpp - The CUDA backend over a driver in host memory -------===//
//
// What steps compute on the device is in ContextTest; here is what can go wrong
// and what must not happen more often than needed.
//
//===----------------------------------------------------------------------===//

#include "Context.h"
#include "CudaMemoryCheck.h"
#include "FakeCuda.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <cstring>

using namespace sparse::runtime;
using toy::Artifact;

namespace {

ContextOptions smallOptions() {
  ContextOptions options;
  options.maxSequences = 4;
  options.threads = 1;
  options.limitBytes = 16 << 20;
  options.checkCounts = true;
  return options;
}

class CudaTest : public testing::Test {
protected:
  CudaTest() {
    fake::reset();
    config.cuda = true;
    options.device = "cuda";
    options.cuda = fake::platform();
    artifact = toy::makeArtifact(config);
  }
  ~CudaTest() override { EXPECT_TRUE(fake::isClean()); }

  std::shared_ptr<const Model> load() {
    artifact.write(dir.path());
    return std::make_shared<Model>(dir.path(), options);
  }
  Code loadCode(std::string *message = nullptr) {
    return codeOf([&] { load(); }, message);
  }
  /// A change of the first step of decode_b1.
  Code withStep(const std::function<void(Json &)> &change,
                std::string *message = nullptr) {
    Artifact original = artifact;
    change(artifact.cudaPlans["decode_b1"]["steps"][0]);
    Code code = loadCode(message);
    artifact = original;
    return code;
  }

  /// So that pages fill more than one step of a pool's growth.
  void makeLarge() {
    config.dim = 128;
    config.maxContext = 1600;
    for (toy::Layer &layer : config.layers)
      layer.maxPages = 400;
  }

  toy::Config config;
  toy::TempDir dir;
  LoadOptions options;
  Artifact artifact;
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
};

//===----------------------------------------------------------------------===//
// Loading
//===----------------------------------------------------------------------===//

TEST_F(CudaTest, NamesTheCard) {
  EXPECT_EQ(load()->device().name(), "cuda:0 Fake H100");
  EXPECT_EQ(load()->target().name, "sm_90a");
}

TEST_F(CudaTest, RefusesAnotherArchitecture) {
  fake::card().major = 8;
  std::string message;
  EXPECT_EQ(loadCode(&message), Code::Incompatible);
  EXPECT_NE(message.find("Fake H100"), std::string::npos) << message;
  EXPECT_NE(message.find("compute capability 9.0, the card has 8.0"),
            std::string::npos)
      << message;
  // What is special to 9.0 is not in later cards.
  fake::card().major = 10;
  EXPECT_EQ(loadCode(), Code::Incompatible);
  fake::card().minor = 2;
  EXPECT_EQ(loadCode(), Code::Incompatible);
}

TEST_F(CudaTest, LaterCardsCompileThePtx) {
  Json &target = artifact.cuda()["targets"][0];
  target["name"] = "sm_80";
  target["requires"] = {"sm_80"};
  artifact.files["code/toy.ptx"] = TOY_KERNELS_BIASED;
  fake::card().major = 8;
  fake::card().minor = 6;
  load();
  EXPECT_EQ(fake::card().module, TOY_KERNELS);
  fake::card().major = 9;
  load();
  EXPECT_EQ(fake::card().module, TOY_KERNELS_BIASED);
  target.erase("ptx");
  EXPECT_EQ(loadCode(), Code::Incompatible);
  fake::card().major = 7;
  std::string message;
  EXPECT_EQ(loadCode(&message), Code::Incompatible);
  EXPECT_NE(message.find("8.0"), std::string::npos) << message;
}

TEST_F(CudaTest, CardsThatAreNotThere) {
  std::string message;
  options.device = "cuda:1";
  EXPECT_EQ(loadCode(&message), Code::Unavailable);
  EXPECT_NE(message.find("cuda:1"), std::string::npos) << message;
  options.device = "cuda";
  fake::card().count = 0;
  EXPECT_EQ(loadCode(&message), Code::Unavailable);
  EXPECT_NE(message.find("run on the device cpu"), std::string::npos)
      << message;
  for (const char *bad : {"cuda:", "cuda:x", "cuda:99999", "gpu", ""}) {
    options.device = bad;
    Code code = loadCode();
    EXPECT_TRUE(code == Code::InvalidArgument || code == Code::Incompatible)
        << bad << ": " << codeName(code);
  }
}

// The CPU runs it only when it was named.
TEST_F(CudaTest, FallsBackWhenAsked) {
  fake::card().count = 0;
  EXPECT_EQ(loadCode(), Code::Unavailable);
  options.device = "cuda,cpu";
  std::string said;
  options.log = [&](LogLevel, const std::string &text) { said += text; };
  EXPECT_EQ(load()->device().name(), "cpu");
  EXPECT_NE(said.find("trying the next device"), std::string::npos) << said;
  fake::card().count = 1;
  EXPECT_EQ(load()->device().name(), "cuda:0 Fake H100");
  artifact.manifest["devices"].erase("cuda");
  EXPECT_EQ(load()->device().name(), "cpu");
  options.device = "cuda,cuda:1";
  EXPECT_EQ(loadCode(), Code::Incompatible);
}

TEST_F(CudaTest, LaunchesAreChecked) {
  auto set = [&](const char *key, Json value) {
    return withStep([&](Json &step) { step[key] = value; });
  };
  EXPECT_EQ(set("grid", 3), Code::Ok);
  EXPECT_EQ(set("grid", {2, 2, 2}), Code::Ok);
  EXPECT_EQ(set("grid", {2, 2}), Code::InvalidArgument);
  EXPECT_EQ(set("grid", 0), Code::InvalidArgument);
  EXPECT_EQ(set("grid", {1, 65536, 1}), Code::InvalidArgument);
  EXPECT_EQ(set("block", {1024, 1, 1}), Code::Ok);
  EXPECT_EQ(set("block", {1024, 2, 1}), Code::InvalidArgument);
  EXPECT_EQ(set("block", {0, 1, 1}), Code::InvalidArgument);
  EXPECT_EQ(set("cluster", 2), Code::Ok);
  EXPECT_EQ(set("cluster", 3), Code::InvalidArgument) << "grid 2";
  EXPECT_EQ(set("cluster", 17), Code::InvalidArgument);
  EXPECT_EQ(set("shared", 200 << 10), Code::Ok);
  EXPECT_EQ(set("shared", 300 << 10), Code::Incompatible);
  EXPECT_EQ(set("shared", -1), Code::InvalidArgument);
  EXPECT_EQ(set("kernel", "none such"), Code::InvalidArgument);
  EXPECT_EQ(withStep([](Json &step) { step.erase("block"); }),
            Code::InvalidArgument);
  for (const char *optional : {"cluster", "shared", "dependent"})
    EXPECT_EQ(withStep([&](Json &step) { step.erase(optional); }), Code::Ok);
}

// Every call of the driver that fails gives an error, and nothing is left.
TEST_F(CudaTest, EveryFailureOfLoadingIsClean) {
  artifact.write(dir.path());
  for (const char *call :
       {"deviceCount", "contextRetain", "moduleLoad", "memAlloc", "hostAlloc",
        "streamCreate", "copyToDevice", "streamSynchronize", "addressReserve",
        "memCreate", "memMap", "memSetAccess", "set8"})
    for (int64_t k = 0;; ++k) {
      fake::reset();
      fake::card().failing = call;
      fake::card().failAfter = k;
      fake::card().error = k % 2 ? 2 : 700;
      Code code = codeOf([&] {
        auto model = std::make_shared<Model>(dir.path(), options);
        Context context(model, smallOptions());
        uint32_t seq = context.cache().create();
        context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
      });
      ASSERT_TRUE(fake::isClean()) << call << " " << k;
      if (code == Code::Ok) {
        EXPECT_GT(k, 0) << call;
        break;
      }
      ASSERT_TRUE(code == Code::ResourceExhausted || code == Code::Internal ||
                  code == Code::Unavailable || code == Code::InvalidArgument)
          << call << " " << k << ": " << codeName(code);
    }
  fake::reset();
}

// Shapes without weights can be measured and nothing else.
TEST_F(CudaTest, RandomWeightsForShapesAlone) {
  options.randomWeights = true;
  EXPECT_EQ(loadCode(), Code::FailedPrecondition) << "it has weights";
  artifact.manifest["weights"] = "none";
  artifact.files.erase("weights.safetensors");
  for (auto *plans : {&artifact.plans, &artifact.cudaPlans})
    for (auto &plan : *plans)
      for (Json &buffer : plan.second["buffers"])
        if (buffer["kind"] == "weight")
          buffer["dtype"] = "bf16";
  EXPECT_EQ(load()->device().name(), "cuda:0 Fake H100");
  std::string message;
  options.randomWeights = false;
  EXPECT_EQ(loadCode(&message), Code::FailedPrecondition);
  EXPECT_NE(message.find("--weights=random"), std::string::npos) << message;
  options.randomWeights = true;
  options.device = "cpu";
  EXPECT_EQ(loadCode(), Code::Unimplemented);
  artifact.manifest["weights"] = "some";
  EXPECT_EQ(loadCode(), Code::InvalidArgument);
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

TEST_F(CudaTest, APlanBecomesAGraphOnce) {
  auto model = load();
  Context context(model, smallOptions());
  uint32_t seq = context.cache().create();
  std::vector<float> logits(config.vocab);
  context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
  auto &calls = fake::card().calls;
  EXPECT_EQ(calls["graphInstantiate"], 1u);
  EXPECT_EQ(calls["graphLaunch"], 2u) << "two chunks";
  uint64_t launches = calls["launch"];
  for (int i = 0; i < 10; ++i) {
    DecodeRow row = {seq, i};
    context.decode(&row, 1, logits.data());
  }
  EXPECT_EQ(calls["graphInstantiate"], 2u);
  EXPECT_EQ(calls["graphLaunch"], 12u);
  EXPECT_EQ(calls["launch"],
            launches + artifact.plans["decode_b1"]["steps"].size());
}

// Nothing but the graph and the wait belongs to a step that needs no page.
TEST_F(CudaTest, AStepIsOneLaunchAndOneWait) {
  ContextOptions create = smallOptions();
  create.checkCounts = false;
  Context context(load(), create);
  uint32_t seq = context.cache().create();
  std::vector<float> logits(config.vocab);
  context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
  DecodeRow row = {seq, 3};
  context.decode(&row, 1, logits.data()); // the twelfth: its page is full
  context.decode(&row, 1, logits.data());
  auto before = fake::card().calls;
  context.decode(&row, 1, logits.data());
  auto after = fake::card().calls;
  for (const auto &[name, count] : after)
    EXPECT_EQ(count - before[name],
              name == "graphLaunch" || name == "streamSynchronize" ? 1u : 0u)
        << name;
  // A new page: one copy and one fill a layer for all heads.
  context.decode(&row, 1, logits.data());
  context.decode(&row, 1, logits.data());
  before = fake::card().calls;
  EXPECT_EQ(context.cache().length(seq) % 4, 0u);
  context.decode(&row, 1, logits.data());
  after = fake::card().calls;
  EXPECT_EQ(after["copy2D"] - before["copy2D"], 2u);
  EXPECT_EQ(after["set2D32"] - before["set2D32"], 4u);
}

TEST_F(CudaTest, OnlyALaunchAfterALaunchIsDependent) {
  Context context(load(), smallOptions());
  uint32_t seq = context.cache().create();
  DecodeRow row = {seq, 3};
  context.decode(&row, 1, nullptr);
  EXPECT_EQ(fake::card().dependentLaunches,
            artifact.plans["decode_b1"]["steps"].size() - 1);
}

TEST_F(CudaTest, AttributesReachTheLaunch) {
  artifact.cudaPlans["decode_b4"]["steps"][0]["cluster"] = 2;
  artifact.cudaPlans["decode_b4"]["steps"][0]["shared"] = 100 << 10;
  Context context(load(), smallOptions());
  DecodeRow rows[4];
  for (uint32_t i = 0; i < 4; ++i)
    rows[i] = {context.cache().create(), 3};
  context.decode(rows, 4, nullptr);
  EXPECT_EQ(fake::card().clusterLaunches, 1u);
  EXPECT_EQ(fake::card().mostShared, 100u << 10);
}

TEST_F(CudaTest, ProductsEqualKernels) {
  config.gemm = "f32";
  artifact = toy::makeArtifact(config);
  Context context(load(), smallOptions());
  std::vector<float> hidden(7 * config.hidden());
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = static_cast<float>(i % 11) - 4;
  std::vector<float> logits(7 * config.vocab);
  context.logits(hidden.data(), 7, logits.data());
  toy::Oracle oracle(config);
  for (int row = 0; row < 7; ++row)
    EXPECT_EQ(std::vector<float>(logits.begin() + row * config.vocab,
                                 logits.begin() + (row + 1) * config.vocab),
              oracle.logits(std::vector<float>(
                  hidden.begin() + row * config.hidden(),
                  hidden.begin() + (row + 1) * config.hidden())));
}

TEST_F(CudaTest, FilledSequencesDecode) {
  Context context(load(), smallOptions());
  uint32_t seq = context.cache().create();
  context.fillRandom(seq, 101, 7);
  std::vector<float> a(48), b(48), page(32);
  context.cache().storage().download(
      page.data(),
      context.cache().keyBase(0) + context.cache().pageAt(seq, 0, 1, 3) * 128,
      128);
  for (float value : page)
    EXPECT_LT(std::abs(value), 1);
  EXPECT_NE(page[0], page[1]);
  DecodeRow row = {seq, 1};
  context.decode(&row, 1, a.data());
  context.cache().clear(seq);
  context.fillRandom(seq, 101, 7);
  context.decode(&row, 1, b.data());
  EXPECT_EQ(a, b);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

TEST_F(CudaTest, WeightsThatDoNotFitAreRefused) {
  fake::card().memory = 1000;
  std::string message;
  EXPECT_EQ(loadCode(&message), Code::ResourceExhausted);
  EXPECT_NE(message.find("the weights need"), std::string::npos) << message;
}

TEST_F(CudaTest, HostMemoryOfAnApplicationIsRefused) {
  ContextOptions create = smallOptions();
  create.memory = std::make_shared<Memory>();
  EXPECT_EQ(codeOf([&] { Context context(load(), create); }),
            Code::InvalidArgument);
}

// A step without memory changes nothing and can be done later.
TEST_F(CudaTest, StepsWithoutMemoryCanBeRepeated) {
  config = toy::cappedConfig("end");
  config.cuda = true;
  makeLarge();
  artifact = toy::makeArtifact(config);
  Context context(load(), smallOptions());
  uint32_t seq = context.cache().create();
  toy::Oracle oracle(config);
  std::vector<float> logits(config.vocab);
  ids.resize(1250, 5);
  fake::card().memory = fake::card().bytesInUse;
  EXPECT_EQ(codeOf([&] {
              context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
            }),
            Code::ResourceExhausted);
  EXPECT_EQ(context.cache().length(seq), 0u);
  fake::card().memory = uint64_t(1) << 40;
  context.prefill(seq, ids.data(), ids.size(), nullptr, logits.data());
  ASSERT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
  int refused = 0;
  for (int step = 0; step < 200; ++step) {
    DecodeRow row = {seq, step % 48};
    fake::card().memory = fake::card().bytesInUse;
    Code code = codeOf([&] { context.decode(&row, 1, logits.data()); });
    fake::card().memory = uint64_t(1) << 40;
    if (code != Code::Ok) {
      ASSERT_EQ(code, Code::ResourceExhausted);
      context.decode(&row, 1, logits.data());
      ++refused;
    }
    ASSERT_EQ(logits, oracle.decode(row.token)) << step;
  }
  EXPECT_GT(refused, 0);
  EXPECT_FALSE(context.poisoned());
}

TEST_F(CudaTest, MemoryGoesBackToTheCard) {
  makeLarge();
  artifact = toy::makeArtifact(config);
  Context context(load(), smallOptions());
  uint32_t warm = context.cache().create();
  context.prefill(warm, ids.data(), ids.size(), nullptr, nullptr);
  context.cache().destroy(warm);
  uint64_t before = fake::card().bytesInUse;
  std::vector<int32_t> prompt(1500, 5);
  uint32_t a = context.cache().create(), b = context.cache().create();
  context.prefill(a, prompt.data(), prompt.size(), nullptr, nullptr);
  context.prefill(b, prompt.data(), prompt.size(), nullptr, nullptr);
  uint64_t full = fake::card().bytesInUse;
  EXPECT_GT(full, 2u * 1500 * 2 * 2 * 1024);
  context.cache().destroy(b);
  context.cache().destroy(a);
  EXPECT_LE(fake::card().bytesInUse, before);
  // And comes again.
  uint32_t c = context.cache().create();
  toy::Oracle oracle(config);
  std::vector<float> logits(config.vocab);
  context.prefill(c, prompt.data(), prompt.size(), nullptr, logits.data());
  EXPECT_EQ(logits, oracle.logits(oracle.prefill(prompt).back()));
}

TEST_F(CudaTest, OperationsEqualTheHosts) {
  compareOperations(*fake::platform()->driver);
}

TEST_F(CudaTest, CommittedMemoryIsZeroAndIdempotent) {
  auto card = std::make_shared<cuda::Card>(*fake::platform()->driver, 0);
  cuda::CudaMemory memory(card);
  uint64_t granule = memory.granularity();
  Region region(memory, 8 * granule, Backing::Explicit, false);
  ASSERT_TRUE(region.commit(granule, 3 * granule));
  ASSERT_TRUE(region.commit(granule / 2, 4 * granule));
  EXPECT_EQ(fake::card().bytesInUse, 4 * granule);
  std::vector<uint8_t> bytes(4 * granule), zero(4 * granule);
  memory.download(bytes.data(), region.data(), bytes.size());
  EXPECT_EQ(bytes, zero);
  uint8_t one = 1;
  memory.fill(region.data(), 4 * granule, &one, 1);
  region.decommit(granule / 2, 3 * granule);
  EXPECT_EQ(fake::card().bytesInUse, 2 * granule);
  ASSERT_TRUE(region.commit(0, 4 * granule));
  memory.download(bytes.data(), region.data(), bytes.size());
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(bytes[granule], 0);
  EXPECT_EQ(bytes[3 * granule], 1);
  // A failure in the middle leaves things as they were.
  fake::card().memory = fake::card().bytesInUse + 2 * granule;
  EXPECT_FALSE(region.commit(4 * granule, 8 * granule));
  EXPECT_EQ(fake::card().bytesInUse, 4 * granule);
  EXPECT_TRUE(region.commit(4 * granule, 6 * granule));
}

//===----------------------------------------------------------------------===//
// R14: faults
//===----------------------------------------------------------------------===//

class FaultTest : public CudaTest,
                  public testing::WithParamInterface<const char *> {};

// A failing call inside a step poisons the context and nothing else.
TEST_P(FaultTest, PoisonsTheContext) {
  auto model = load();
  {
    Context context(model, smallOptions());
    uint32_t seq = context.cache().create();
    context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
    std::string call = GetParam();
    if (call == "kernel") {
      fake::card().fault = 1;
    } else {
      fake::card().failing = call;
      fake::card().error = 700;
    }
    DecodeRow row = {seq, 1};
    std::string message;
    EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }, &message),
              Code::Internal);
    EXPECT_NE(message.find("CUDA_ERROR_ILLEGAL_ADDRESS"), std::string::npos)
        << message;
    EXPECT_TRUE(context.poisoned());
    fake::card().failing = "";
    EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }),
              Code::FailedPrecondition);
    // What needs no step still works.
    context.cache().destroy(seq);
    EXPECT_EQ(context.cache().usage().pages, 0u);
  }
  Context fresh(model, smallOptions());
  uint32_t seq = fresh.cache().create();
  std::vector<float> logits(config.vocab);
  fresh.prefill(seq, ids.data(), ids.size(), nullptr, logits.data());
  toy::Oracle oracle(config);
  EXPECT_EQ(logits, oracle.logits(oracle.prefill(ids).back()));
}

INSTANTIATE_TEST_SUITE_P(Calls, FaultTest,
                         testing::Values("kernel", "launch", "captureBegin",
                                         "captureEnd", "graphInstantiate",
                                         "graphLaunch", "streamSynchronize",
                                         "copyToHost"));

// Memory for the graph is memory too: nothing ran, nothing is broken.
TEST_F(CudaTest, AGraphWithoutMemoryCanBeMadeLater) {
  Context context(load(), smallOptions());
  uint32_t seq = context.cache().create();
  context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
  fake::card().failing = "graphInstantiate";
  fake::card().error = 2;
  DecodeRow row = {seq, 1};
  EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }),
            Code::ResourceExhausted);
  EXPECT_FALSE(context.poisoned());
  fake::card().failing = "";
  std::vector<float> logits(config.vocab);
  context.decode(&row, 1, logits.data());
  toy::Oracle oracle(config);
  oracle.prefill(ids);
  EXPECT_EQ(logits, oracle.decode(1));
}

// A fault between steps (in a copy, say) is told by the next one.
TEST_F(CudaTest, FaultsBetweenStepsAreTold) {
  Context context(load(), smallOptions());
  uint32_t seq = context.cache().create();
  context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
  fake::card().failing = "copyOnDevice";
  fake::card().error = 700;
  uint32_t forked = context.cache().fork(seq);
  fake::card().failing = "";
  DecodeRow row = {forked, 1};
  EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }), Code::Internal);
  EXPECT_TRUE(context.poisoned());
}

TEST_F(CudaTest, AKernelsStatusPoisonsTheContext) {
  artifact.cudaPlans["decode_b1"]["steps"][0]["kernel"] = "set_status";
  Context context(load(), smallOptions());
  uint32_t seq = context.cache().create();
  DecodeRow row = {seq, 1};
  EXPECT_EQ(codeOf([&] { context.decode(&row, 1, nullptr); }), Code::Internal);
  EXPECT_TRUE(context.poisoned());
}

} // namespace
