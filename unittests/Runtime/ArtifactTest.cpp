//===- ArtifactTest.cpp - Loading and refusing artifacts ------------------===//

#include "Context.h"
#include "CpuFeatures.h"
#include "File.h"
#include "Sha256.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <dirent.h>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <sys/stat.h>

using namespace sparse::runtime;
using toy::Artifact;

namespace {

Code loadCode(const std::string &path, std::string *message = nullptr,
              const LoadOptions &options = {}) {
  return codeOf([&] { Model(path, options); }, message);
}

size_t openDescriptors() {
  size_t count = 0;
  DIR *dir = ::opendir("/proc/self/fd");
  while (::readdir(dir))
    ++count;
  ::closedir(dir);
  return count;
}

class ArtifactTest : public testing::Test {
protected:
  Artifact artifact = toy::makeArtifact(toy::cappedConfig("end"));
  toy::TempDir dir;
  std::string path(const std::string &name) const {
    return dir.path() + "/" + name;
  }
};

TEST(Sha256Test, KnownDigests) {
  EXPECT_EQ(sha256("", 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca49"
                           "5991b7852b855");
  EXPECT_EQ(sha256("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9c"
                              "b410ff61f20015ad");
}

TEST_F(ArtifactTest, Loads) {
  artifact.files["tokenizer.json"] = "{\"version\": \"1.0\"}";
  artifact.manifest["policy"] = "oldest leaves";
  artifact.write(dir.path());
  Model model(dir.path(), {});
  EXPECT_EQ(model.layers().size(), 3u);
  EXPECT_EQ(model.manifest().policy, "oldest leaves");
  EXPECT_EQ(model.layers()[2].caps, (std::vector<int64_t>{6, 9}));
  EXPECT_EQ(model.layers()[2].prefillCap, PrefillCap::End);
  EXPECT_EQ(model.decodeBuckets().size(), 3u);
  EXPECT_EQ(model.prefill()->rows, 8u);
  EXPECT_EQ(model.tokenizer(), "{\"version\": \"1.0\"}");
}

//===----------------------------------------------------------------------===//
// R4: damage
//===----------------------------------------------------------------------===//

bool isDamage(Code code) {
  return code == Code::DataLoss || code == Code::InvalidArgument;
}

std::string flipped(std::string text, size_t bit) {
  text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  return text;
}

// The head of an artifact: a flipped bit is seen before anything is used.
TEST_F(ArtifactTest, RefusesEveryFlippedBitOfTheHead) {
  artifact.write(dir.path());
  const std::string good = Artifact::readFile(path("manifest.json"));
  ASSERT_GE(good.size(), 4096u);
  ASSERT_EQ(codeOf([&] { parseManifest(good, "manifest"); }), Code::Ok);
  size_t loads = 0;
  for (size_t bit = 0; bit < 4096 * 8; ++bit) {
    std::string bad = flipped(good, bit);
    Code code = codeOf([&] { parseManifest(bad, "manifest"); });
    ASSERT_TRUE(isDamage(code)) << "bit " << bit << ": " << codeName(code);
    // A load says the same, and is slower to ask.
    if (bit % 127 != 0)
      continue;
    Artifact::writeFile(path("manifest.json"), bad);
    ASSERT_EQ(loadCode(dir.path()), code) << "bit " << bit;
    ++loads;
  }
  EXPECT_GT(loads, 250u);
}

// One bit of any byte of any file, the manifest's rest included.
TEST_F(ArtifactTest, RefusesRandomFlippedBits) {
  artifact.files["tokenizer.json"] = std::string(700, ' ');
  artifact.write(dir.path());
  std::map<std::string, std::string> files = artifact.files;
  files["manifest.json"] = Artifact::readFile(path("manifest.json"));
  std::vector<std::pair<std::string, uint64_t>> ends;
  uint64_t bits = 0;
  for (const auto &file : files)
    ends.emplace_back(file.first, bits += file.second.size() * 8);
  std::mt19937_64 random(testSeed());
  std::set<std::string> hit;
  auto refuses = [&](const std::string &name, uint64_t bit) {
    const std::string &good = files[name];
    Artifact::writeFile(path(name), flipped(good, bit));
    std::string message;
    Code code = loadCode(dir.path(), &message);
    Artifact::writeFile(path(name), good);
    hit.insert(name);
    EXPECT_TRUE(name == "manifest.json" ? isDamage(code)
                                        : code == Code::DataLoss)
        << name << " bit " << bit << ": " << codeName(code);
    EXPECT_NE(message.find(name), std::string::npos) << message;
  };
  // Small files too: the first bit and the last of each.
  for (const auto &file : files)
    for (uint64_t bit : {uint64_t(0), file.second.size() * 8 - 1})
      refuses(file.first, bit);
  for (int i = 0; i < 5000 && !HasFailure(); ++i) {
    uint64_t bit = random() % bits, begin = 0;
    for (const auto &[name, end] : ends) {
      if (bit < end) {
        refuses(name, bit - begin);
        break;
      }
      begin = end;
    }
  }
  EXPECT_EQ(hit.size(), files.size());
  EXPECT_EQ(loadCode(dir.path()), Code::Ok);
}

// At every edge of a section, a byte before and behind it, and each 4 KiB.
TEST_F(ArtifactTest, RefusesTruncatedAndExtendedFiles) {
  artifact.write(dir.path());
  std::map<std::string, std::string> files = artifact.files;
  files["manifest.json"] = Artifact::readFile(path("manifest.json"));
  for (const auto &file : files) {
    const std::string &good = file.second;
    std::set<size_t> sizes = {0, 1, good.size() / 2, good.size() - 1,
                              good.size() + 1};
    for (size_t at = 4096; at < good.size(); at += 4096)
      sizes.insert({at - 1, at, at + 1});
    if (file.first == "manifest.json")
      for (size_t at = 0; at < good.size(); at += 13)
        sizes.insert(at);
    sizes.erase(good.size());
    for (size_t size : sizes) {
      std::string bad = good;
      bad.resize(size, 'x');
      Artifact::writeFile(path(file.first), bad);
      Code code = loadCode(dir.path());
      ASSERT_TRUE(file.first == "manifest.json" ? isDamage(code)
                                                : code == Code::DataLoss)
          << file.first << " of " << size << " bytes: " << codeName(code);
    }
    std::filesystem::remove(path(file.first));
    ASSERT_EQ(loadCode(dir.path()), Code::NotFound) << file.first;
    Artifact::writeFile(path(file.first), good);
  }
  EXPECT_EQ(loadCode(dir.path()), Code::Ok);
}

// A damaged section is refused even when it is not the code that would run.
TEST_F(ArtifactTest, VerifiesCodeThatIsNotChosen) {
  artifact.files["code/other.so"] = "not an object";
  artifact.cpu()["targets"].push_back({{"name", "other"},
                                          {"code", "code/other.so"},
                                          {"requires", Json::array()}});
  artifact.write(dir.path());
  EXPECT_EQ(loadCode(dir.path()), Code::Ok);
  Artifact::writeFile(path("code/other.so"), "not an objecT");
  EXPECT_EQ(loadCode(dir.path()), Code::DataLoss);
  LoadOptions options;
  options.verify = false;
  bool warned = false;
  options.log = [&](LogLevel level, const std::string &) {
    warned |= level == LogLevel::Warning;
  };
  EXPECT_EQ(loadCode(dir.path(), nullptr, options), Code::Ok);
  EXPECT_TRUE(warned);
}

TEST_F(ArtifactTest, MappedWeightsAreVerifiedToo) {
  artifact.write(dir.path());
  LoadOptions options;
  options.mapWeights = true;
  EXPECT_EQ(loadCode(dir.path(), nullptr, options), Code::Ok);
  std::string bad = artifact.files["weights.safetensors"];
  bad.back() ^= 1;
  Artifact::writeFile(path("weights.safetensors"), bad);
  EXPECT_EQ(loadCode(dir.path(), nullptr, options), Code::DataLoss);
}

// What was verified is what is used, even when the file changes later.
TEST_F(ArtifactTest, CopiedWeightsDoNotChangeWithTheFile) {
  artifact.write(dir.path());
  File file = openFile(path("weights.safetensors"));
  Mapping copied = Mapping::copy(file);
  std::string good = Artifact::readFile(path("weights.safetensors"));
  Artifact::writeFile(path("weights.safetensors"),
                      std::string(good.size(), 'x'));
  EXPECT_EQ(
      std::string(reinterpret_cast<const char *>(copied.data()), copied.size()),
      good);
}

TEST_F(ArtifactTest, NamesTheDevicesThereAre) {
  artifact.write(dir.path());
  LoadOptions options;
  options.device = "npu";
  std::string message;
  EXPECT_EQ(loadCode(dir.path(), &message, options), Code::Incompatible);
  EXPECT_NE(message.find("only for cpu"), std::string::npos) << message;
  artifact.manifest["devices"]["npu"] = artifact.cpu();
  artifact.write(dir.path());
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);
  artifact.manifest["devices"] = Json::object();
  artifact.write(dir.path());
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);
}

TEST_F(ArtifactTest, ChoosesTheBestTargetThatRuns) {
  artifact.files["code/best.so"] = artifact.files["code/any.so"];
  Json any = artifact.cpu()["targets"][0];
  artifact.cpu()["targets"] = {
      {{"name", "best"}, {"code", "code/best.so"}, {"requires", {"a", "b"}}},
      any};
  artifact.cpu()["targets"][1]["requires"] = {"a"};
  artifact.write(dir.path());
  LoadOptions options;
  options.cpuFeatures = {"a", "b", "c"};
  EXPECT_EQ(Model(dir.path(), options).target().name, "best");
  options.target = "any";
  EXPECT_EQ(Model(dir.path(), options).target().name, "any");
  options.target = "";
  options.cpuFeatures = {"a"};
  EXPECT_EQ(Model(dir.path(), options).target().name, "any");
  options.target = "best";
  std::string message;
  EXPECT_EQ(loadCode(dir.path(), &message, options), Code::Incompatible);
  EXPECT_NE(message.find("needs b"), std::string::npos) << message;
  options.target = "";
  options.cpuFeatures = {"z"};
  EXPECT_EQ(loadCode(dir.path(), &message, options), Code::Incompatible);
  options.target = "none such";
  EXPECT_EQ(loadCode(dir.path(), &message, options), Code::NotFound);
}

TEST_F(ArtifactTest, RefusesCodeThatIsNoObject) {
  artifact.files["code/any.so"] = std::string(4096, 'x');
  artifact.write(dir.path());
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);
}

TEST_F(ArtifactTest, RefusesPathsThatLeaveTheDirectory) {
  for (const char *bad :
       {"../any.so", "/etc/passwd", "code/../../any.so", "code//any.so",
        "./code/any.so", "code/.", "", "code/"}) {
    Artifact copy = artifact;
    copy.write(dir.path());
    copy.cpu()["targets"][0]["code"] = bad;
    for (Json &section : copy.manifest["sections"])
      if (section["kind"] == "code")
        section["path"] = bad;
    Artifact::writeFile(path("manifest.json"),
                        toy::sealManifest(copy.manifest));
    std::string message;
    EXPECT_EQ(loadCode(dir.path(), &message), Code::InvalidArgument) << bad;
    EXPECT_NE(message.find("plain path"), std::string::npos) << message;
  }
}

TEST_F(ArtifactTest, RefusesLinksAndSpecialFiles) {
  artifact.write(dir.path());
  toy::TempDir outside;
  std::string target = outside.path() + "/any.so";
  std::filesystem::rename(path("code/any.so"), target);
  std::filesystem::create_symlink(target, path("code/any.so"));
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);

  std::filesystem::remove(path("code/any.so"));
  std::filesystem::remove(path("code"));
  std::filesystem::create_directory_symlink(outside.path(), path("code"));
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);
  // The same where the kernel cannot do it.
  ModelDir model(dir.path());
  EXPECT_EQ(codeOf([&] { model.openByComponents("code/any.so"); }),
            Code::InvalidArgument);
  EXPECT_EQ(codeOf([&] { model.openByComponents("plans/cpu/prefill.json"); }),
            Code::Ok);

  std::filesystem::remove(path("code"));
  std::filesystem::create_directory(path("code"));
  ASSERT_EQ(::mkfifo(path("code/any.so").c_str(), 0600), 0);
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);
  std::filesystem::remove(path("code/any.so"));
  std::filesystem::create_directory(path("code/any.so"));
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);
}

// The dynamic loader knows objects by name, and ours are named by descriptor
// numbers, which are reused.
TEST_F(ArtifactTest, CodeOfOneModelIsNeverTakenForAnother) {
  artifact.write(dir.path());
  toy::TempDir otherDir;
  Artifact other = artifact;
  other.files["code/any.so"] = Artifact::readFile(TOY_KERNELS_BIASED);
  other.write(otherDir.path());
  auto firstLogit = [](std::shared_ptr<const Model> model) {
    ContextOptions options;
    options.threads = 1;
    options.maxSequences = 1;
    options.limitBytes = 1 << 20;
    Context context(model, options);
    uint32_t seq = context.cache().create();
    int32_t id = 3;
    std::vector<float> logits(model->manifest().model.vocab);
    context.prefill(seq, &id, 1, nullptr, logits.data());
    return logits[0];
  };
  auto a = std::make_shared<Model>(dir.path(), LoadOptions());
  auto b = std::make_shared<Model>(otherDir.path(), LoadOptions());
  float plain = firstLogit(a);
  EXPECT_EQ(firstLogit(b), plain + 1000);
  for (int i = 0; i < 5; ++i) {
    a.reset();
    b.reset();
    b = std::make_shared<Model>(otherDir.path(), LoadOptions());
    EXPECT_EQ(firstLogit(b), plain + 1000);
    b.reset();
    a = std::make_shared<Model>(dir.path(), LoadOptions());
    EXPECT_EQ(firstLogit(a), plain);
  }
}

TEST_F(ArtifactTest, RefusedLoadsLeakNoDescriptors) {
  artifact.write(dir.path());
  Artifact::writeFile(path("plans/cpu/prefill.json"), "{}");
  loadCode(dir.path());
  size_t before = openDescriptors();
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(loadCode(dir.path()), Code::DataLoss);
  EXPECT_EQ(openDescriptors(), before);
}

// With right digests and wrong content: an error or a model, never a crash.
// The values are those that wrapped, crashed or hung other loaders.
TEST_F(ArtifactTest, SurvivesEveryWrongValueOfTheManifest) {
  artifact.write(dir.path());
  std::vector<toy::Path> places = toy::allPaths(artifact.manifest);
  const Json values[] = {
      Json(), -1, 0,   int64_t(1) << 40, INT64_MAX,      UINT64_MAX,
      1e300,  "", "x", Json::array(),    Json::object(), true};
  size_t refused = 0, tried = 0;
  for (const auto &place : places)
    for (const Json &value : values) {
      if (place.back() == "digest")
        continue;
      Json copy = artifact.manifest;
      toy::valueAt(copy, place) = value;
      std::string text = toy::sealManifest(copy);
      Code code = codeOf([&] { parseManifest(text, "manifest"); });
      ++tried;
      refused += code != Code::Ok;
      ASSERT_TRUE(code == Code::Ok || code == Code::InvalidArgument ||
                  code == Code::Incompatible)
          << toy::str(place) << " = " << value << ": " << codeName(code);
    }
  // Free texts and some numbers may be anything; most places may not.
  EXPECT_GT(refused, tried * 3 / 4);
}

TEST_F(ArtifactTest, MissingMembersAreNamed) {
  std::vector<toy::Path> places = toy::allPaths(artifact.manifest);
  const std::set<std::string> optional = {"content", "counter", "axis",
                                          "digest", "cpu"};
  artifact.write(dir.path());
  for (const auto &place : places) {
    toy::Path parent(place.begin(), place.end() - 1);
    Json copy = artifact.manifest;
    if (toy::valueAt(copy, parent).is_array() || optional.count(place.back()))
      continue;
    toy::valueAt(copy, parent).erase(place.back());
    std::string message;
    EXPECT_EQ(
        codeOf([&] { parseManifest(toy::sealManifest(copy), "m"); }, &message),
        Code::InvalidArgument)
        << toy::str(place);
    EXPECT_NE(message.find("'" + place.back() + "' is missing"),
              std::string::npos)
        << message;
  }
}

TEST_F(ArtifactTest, RefusesCapsThatNothingCanEnforce) {
  Artifact copy = artifact;
  for (size_t i = 0; i < copy.cpu()["entries"].size(); ++i)
    if (copy.cpu()["entries"][i]["name"] == "maintain_compact") {
      copy.cpu()["entries"].erase(i);
      break;
    }
  copy.write(dir.path());
  EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument);

  copy = artifact;
  copy.cpu()["cache"]["layers"][1]["prefill_cap"] = "chunk";
  copy.write(dir.path());
  std::string message;
  EXPECT_EQ(loadCode(dir.path(), &message), Code::InvalidArgument);
  EXPECT_NE(message.find("maintain_compact_chunk"), std::string::npos);
}

/// Lets prompts set the caps of a layer, by an entry that does what another
/// does.
static void addBudgets(Artifact &artifact, size_t layer,
                       const std::string &entry = "maintain_rebuild") {
  artifact.cpu()["cache"]["layers"][layer]["components"].push_back(
      {{"name", "budget"},
       {"dtype", "i32"},
       {"shape", {2}},
       {"scope", "head"},
       {"init", 0}});
  artifact.plans["maintain_budgets"] = artifact.plans[entry];
  artifact.plans["maintain_budgets"]["entry"] = "maintain_budgets";
  artifact.plans["maintain_budgets"]["kind"] = "maintain_budgets";
  artifact.cpu()["entries"].push_back(
      {{"name", "maintain_budgets"},
       {"kind", "maintain_budgets"},
       {"rows", 1},
       {"plan", "plans/cpu/maintain_budgets.json"}});
}

TEST_F(ArtifactTest, ReadsCapsThatPromptsSet) {
  Artifact copy = artifact;
  addBudgets(copy, 1);
  copy.write(dir.path());
  std::vector<LayerLayout> layers = Model(dir.path(), {}).layers();
  EXPECT_FALSE(layers[0].budget);
  ASSERT_TRUE(layers[1].budget);
  EXPECT_EQ(layers[1].components[*layers[1].budget].name, "budget");
  EXPECT_EQ(layers[1].capAt(0, 400), 10);
  EXPECT_EQ(layers[1].capAt(0, 400, 7), 7);
  // Of another form it is none that the host could read.
  const std::pair<const char *, Json> wrong[] = {{"dtype", "f32"},
                                                 {"shape", {3}},
                                                 {"shape", {2, 1}},
                                                 {"scope", "layer"},
                                                 {"init", -1}};
  for (const auto &[key, value] : wrong) {
    Artifact bad = copy;
    bad.cpu()["cache"]["layers"][1]["components"].back()[key] = value;
    bad.write(dir.path());
    std::string message;
    EXPECT_EQ(loadCode(dir.path(), &message), Code::InvalidArgument) << key;
    EXPECT_NE(message.find("'budget' does not have the form"),
              std::string::npos)
        << message;
  }
}

TEST_F(ArtifactTest, RefusesBudgetsThatNothingCanSetOrKeep) {
  std::string message;
  Artifact copy = artifact;
  addBudgets(copy, 1);
  copy.cpu()["entries"].erase(copy.cpu()["entries"].size() - 1);
  copy.write(dir.path());
  EXPECT_EQ(loadCode(dir.path(), &message), Code::InvalidArgument);
  EXPECT_NE(message.find("maintain_budgets"), std::string::npos) << message;
  // A layer without a cap, and one that is cut before the prompt has ended.
  copy = artifact;
  addBudgets(copy, 0);
  copy.write(dir.path());
  EXPECT_EQ(loadCode(dir.path(), &message), Code::InvalidArgument);
  EXPECT_NE(message.find("prefill_cap end"), std::string::npos) << message;
  copy = toy::makeArtifact(toy::cappedConfig("chunk"));
  addBudgets(copy, 1);
  copy.write(dir.path());
  EXPECT_EQ(loadCode(dir.path(), &message), Code::InvalidArgument);
  EXPECT_NE(message.find("prefill_cap end"), std::string::npos) << message;
}

/// What kernels leave is checked: here they leave nothing.
TEST_F(ArtifactTest, BudgetsThatKernelsDoNotSetPoisonTheContext) {
  addBudgets(artifact, 1);
  artifact.write(dir.path());
  Context context(std::make_shared<Model>(dir.path(), LoadOptions()),
                  toy::smallOptions());
  uint32_t seq = context.cache().create();
  const std::vector<int32_t> ids = {1, 2, 3};
  EXPECT_EQ(codeOf([&] {
              context.prefill(seq, ids.data(), ids.size(), nullptr, nullptr);
            }),
            Code::Internal);
  EXPECT_TRUE(context.poisoned());
}

TEST_F(ArtifactTest, ReadsCapsThatGrow) {
  Artifact copy = artifact;
  auto writeWith = [&](const Json &cap) {
    copy.cpu()["cache"]["layers"][1]["caps"][0] = cap;
    copy.write(dir.path());
  };
  writeWith({{"most", 10}, {"over", 40}, {"least", 3}});
  LayerLayout layer = Model(dir.path(), {}).layers()[1];
  EXPECT_EQ(layer.capAt(0, 8), 3);
  EXPECT_EQ(layer.capAt(0, 30), 7);
  EXPECT_EQ(layer.capAt(0, 400), 10);
  EXPECT_EQ(layer.capAt(1, 400), -1);
  // No cap below one slot or above the length at which it is reached.
  for (const Json &bad : {Json{{"most", 10}, {"over", 9}, {"least", 3}},
                   Json{{"most", 10}, {"over", 40}, {"least", 0}},
                   Json{{"most", 10}, {"over", 40}, {"least", 11}},
                   Json{{"most", 0}, {"over", 40}, {"least", 1}},
                   Json{{"most", 10}, {"over", 40}}}) {
    writeWith(bad);
    EXPECT_EQ(loadCode(dir.path()), Code::InvalidArgument) << bad.dump();
  }
}

TEST_F(ArtifactTest, RefusesDuplicateMembers) {
  std::string text = toy::sealManifest(artifact.manifest);
  text.replace(text.find("\"policy\""), 8, "\"source\"");
  size_t begin = 0;
  std::string digest = manifestDigest(text, "m", begin);
  text.replace(begin, 64, digest);
  std::string message;
  EXPECT_EQ(codeOf([&] { parseManifest(text, "m"); }, &message),
            Code::InvalidArgument);
  EXPECT_NE(message.find("twice"), std::string::npos) << message;
}

TEST(CpuFeaturesTest, ReadsTheFlagsLine) {
  EXPECT_EQ(parseCpuFeatures("processor : 0\nflags\t\t: fpu avx512f fma\n"
                             "processor : 1\nflags : other\n"),
            (std::set<std::string>{"fpu", "avx512f", "fma"}));
  EXPECT_FALSE(hostCpuFeatures().empty());
}

} // namespace
