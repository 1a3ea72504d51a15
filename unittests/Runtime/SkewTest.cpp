//===- SkewTest.cpp - Versions and devices that do not fit (R5) -----------===//
//
// What was made for another runtime, CPU or card is INCOMPATIBLE, and the text
// says what to do.
//
//===----------------------------------------------------------------------===//

#include "FakeCuda.h"
#include "Model.h"
#include "TestUtil.h"
#include "ToyModel.h"

using namespace sparse::runtime;
using toy::Artifact;

namespace {

struct Skew {
  const char *what;
  std::vector<const char *> said; ///< parts of the text; the last is the remedy
  /// Makes the artifact, the machine or the wishes of the caller differ.
  void (*change)(Artifact &artifact, LoadOptions &options);
};

void onCard(LoadOptions &options) {
  options.device = "cuda";
  options.cuda = fake::platform();
}

/// A target that any card from `version` on can compile.
void setTarget(Artifact &artifact, const char *name) {
  Json &target = artifact.cuda()["targets"][0];
  target["name"] = name;
  target["requires"] = {name};
}

void requireFeatures(Artifact &artifact) {
  Json any = artifact.cpu()["targets"][0];
  artifact.files["code/best.so"] = artifact.files["code/any.so"];
  any["requires"] = {"avx2"};
  artifact.cpu()["targets"] = {{{"name", "best"},
                                {"code", "code/best.so"},
                                {"requires", {"avx2", "amx-bf16"}}},
                               any};
}

const Skew skews[] = {
    {"an older schema",
     {"schema version 1", "compile the model again"},
     [](Artifact &artifact, LoadOptions &) {
       artifact.manifest["schema_version"] = 1;
     }},
    {"a newer schema",
     {"schema version 3", "use a newer runtime"},
     [](Artifact &artifact, LoadOptions &) {
       artifact.manifest["schema_version"] = 3;
     }},
    {"a schema of the far future",
     {"schema version 9000000000", "use a newer runtime"},
     [](Artifact &artifact, LoadOptions &) {
       artifact.manifest["schema_version"] = 9000000000;
       artifact.manifest["devices"] = "elsewhere";
       artifact.manifest.erase("model");
     }},
    {"older kernels",
     {"kernel ABI 0", "compile the model again"},
     [](Artifact &artifact, LoadOptions &) {
       artifact.files["code/any.so"] =
           Artifact::readFile(toy::builtFile(TOY_KERNELS_ABI0));
     }},
    {"newer kernels",
     {"kernel ABI 2", "use a newer runtime"},
     [](Artifact &artifact, LoadOptions &) {
       artifact.files["code/any.so"] =
           Artifact::readFile(toy::builtFile(TOY_KERNELS_ABI2));
     }},
    {"a CPU without what any target needs",
     {"best needs avx2 amx-bf16", "any needs avx2", "another --target"},
     [](Artifact &artifact, LoadOptions &options) {
       requireFeatures(artifact);
       options.cpuFeatures = {"sse2"};
     }},
    {"a CPU without what the target that was asked for needs",
     {"best needs amx-bf16", "another --target"},
     [](Artifact &artifact, LoadOptions &options) {
       requireFeatures(artifact);
       options.cpuFeatures = {"avx2"};
       options.target = "best";
     }},
    {"a device that it was not compiled for",
     {"device 'cuda'", "only for cpu", "another --target"},
     [](Artifact &artifact, LoadOptions &options) {
       onCard(options);
       artifact.manifest["devices"].erase("cuda");
     }},
    {"a device that there never was",
     {"device 'npu'", "another --target"},
     [](Artifact &, LoadOptions &options) { options.device = "npu"; }},
    {"an older card",
     {"sm_90a needs", "the card has 8.0", "another --target"},
     [](Artifact &, LoadOptions &options) {
       onCard(options);
       fake::card().major = 8;
     }},
    {"a newer card for code of one architecture alone",
     {"sm_90a needs", "the card has 10.0", "another --target"},
     [](Artifact &, LoadOptions &options) {
       onCard(options);
       fake::card().major = 10;
     }},
    {"a newer card without PTX",
     {"sm_80 needs", "the card has 9.0", "another --target"},
     [](Artifact &artifact, LoadOptions &options) {
       onCard(options);
       setTarget(artifact, "sm_80");
       artifact.cuda()["targets"][0].erase("ptx");
     }},
    {"a driver that is older than the PTX",
     {"code/toy.ptx does not run", "newer driver"},
     [](Artifact &artifact, LoadOptions &options) {
       onCard(options);
       setTarget(artifact, "sm_80");
       fake::card().failing = "moduleLoad";
       fake::card().error = 222;
     }},
    {"a card with less shared memory than a kernel needs",
     {"does not give shared memory of 307200", "another --target"},
     [](Artifact &artifact, LoadOptions &options) {
       onCard(options);
       artifact.cudaPlans["decode_b1"]["steps"][0]["shared"] = 300 << 10;
     }},
};

TEST(SkewTest, IsIncompatibleAndSaysWhatToDo) {
  EXPECT_GE(std::size(skews), 12u);
  toy::Config config;
  config.cuda = true;
  for (const Skew &skew : skews) {
    SCOPED_TRACE(skew.what);
    fake::reset();
    Artifact artifact = toy::makeArtifact(config);
    artifact.files["code/toy.ptx"] = "of an older card";
    LoadOptions options;
    skew.change(artifact, options);
    toy::TempDir dir;
    artifact.write(dir.path());
    std::string message;
    EXPECT_EQ(codeOf([&] { Model(dir.path(), options); }, &message),
              Code::Incompatible)
        << message;
    for (const char *part : skew.said)
      EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_TRUE(fake::isClean());
  }
  fake::reset();
}

} // namespace
