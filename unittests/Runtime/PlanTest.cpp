//===- PlanTest.cpp - Bounds of plans -------------------------------------===//

#include "CpuDevice.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <filesystem>

using namespace sparse::runtime;
using toy::Artifact;

namespace {

/// Loads the toy model with one plan changed and everything sealed again.
class PlanTest : public testing::Test {
protected:
  Code with(const char *entry, const std::function<void(Json &)> &change,
            std::string *message = nullptr) {
    Artifact copy = artifact;
    change(copy.plans[entry]);
    copy.write(dir.path());
    return codeOf([&] { Model(dir.path(), {}); }, message);
  }
  /// Index of the first buffer of a kind.
  size_t first(const char *entry, const char *kind) {
    const Json &buffers = artifact.plans[entry]["buffers"];
    for (size_t i = 0; i < buffers.size(); ++i)
      if (buffers[i]["kind"] == kind)
        return i;
    return SIZE_MAX;
  }

  Artifact artifact = [] {
    toy::Config config;
    config.gemm = "f32";
    return toy::makeArtifact(config);
  }();
  toy::TempDir dir;
};

TEST_F(PlanTest, UnchangedLoads) {
  EXPECT_EQ(with("decode_b1", [](Json &) {}), Code::Ok);
}

TEST_F(PlanTest, ArgumentsAreInBounds) {
  size_t buffers = artifact.plans["decode_b1"]["buffers"].size();
  for (Json bad :
       {Json(buffers), Json(-1), Json(UINT64_MAX), Json(1.5), Json("0")}) {
    std::string message;
    EXPECT_EQ(with(
                  "decode_b1",
                  [&](Json &plan) { plan["steps"][0]["args"][2] = bad; },
                  &message),
              Code::InvalidArgument)
        << bad;
    EXPECT_NE(message.find("steps[0].args[2]"), std::string::npos) << message;
  }
  EXPECT_EQ(
      with("decode_b1",
           [&](Json &plan) { plan["steps"][0]["args"][2] = buffers - 1; }),
      Code::Ok);
}

TEST_F(PlanTest, ArenaRangesAreInBounds) {
  size_t index = first("decode_b1", "arena");
  uint64_t arena = artifact.plans["decode_b1"]["arena_bytes"];
  auto range = [&](Json offset, Json bytes) {
    return with("decode_b1", [&](Json &plan) {
      plan["buffers"][index]["offset"] = offset;
      plan["buffers"][index]["bytes"] = bytes;
    });
  };
  EXPECT_EQ(range(0, arena), Code::Ok);
  EXPECT_EQ(range(arena, 0), Code::Ok);
  EXPECT_EQ(range(0, arena + 1), Code::InvalidArgument);
  EXPECT_EQ(range(64, arena), Code::InvalidArgument);
  EXPECT_EQ(range(8, 8), Code::InvalidArgument) << "not a multiple of 64";
  EXPECT_EQ(range(-64, 64), Code::InvalidArgument);
  // offset + bytes wraps to a small number.
  EXPECT_EQ(range(UINT64_MAX - 63, 128), Code::InvalidArgument);
  EXPECT_EQ(range(int64_t(1) << 46, int64_t(1) << 46), Code::InvalidArgument);
}

TEST_F(PlanTest, WeightsExistAndAreLargeEnough) {
  size_t index = first("decode_b1", "weight");
  uint64_t bytes = artifact.plans["decode_b1"]["buffers"][index]["bytes"];
  auto set = [&](const char *key, Json value) {
    return with("decode_b1",
                [&](Json &plan) { plan["buffers"][index][key] = value; });
  };
  EXPECT_EQ(set("bytes", bytes - 1), Code::Ok);
  EXPECT_EQ(set("bytes", bytes + 1), Code::InvalidArgument);
  EXPECT_EQ(set("name", "none such"), Code::InvalidArgument);
}

TEST_F(PlanTest, InputsAndOutputsHaveTheirSize) {
  for (const char *kind : {"input", "output"}) {
    size_t index = first("decode_b1", kind);
    uint64_t bytes = artifact.plans["decode_b1"]["buffers"][index]["bytes"];
    for (uint64_t bad : {bytes - 1, bytes + 4, uint64_t(0)})
      EXPECT_EQ(
          with("decode_b1",
               [&](Json &plan) { plan["buffers"][index]["bytes"] = bad; }),
          Code::InvalidArgument)
          << kind << " " << bad;
    EXPECT_EQ(
        with("decode_b1",
             [&](Json &plan) { plan["buffers"][index]["name"] = "unknown"; }),
        Code::InvalidArgument);
  }
}

TEST_F(PlanTest, StateExists) {
  size_t index = first("decode_b1", "state");
  auto set = [&](const char *key, Json value) {
    return with("decode_b1",
                [&](Json &plan) { plan["buffers"][index][key] = value; });
  };
  EXPECT_EQ(set("layer", 1), Code::Ok);
  EXPECT_EQ(set("layer", 2), Code::InvalidArgument);
  EXPECT_EQ(set("layer", -1), Code::InvalidArgument);
  EXPECT_EQ(set("name", "mass"), Code::InvalidArgument);
}

TEST_F(PlanTest, KernelsExist) {
  std::string message;
  EXPECT_EQ(with(
                "decode_b1",
                [](Json &plan) { plan["steps"][0]["kernel"] = "k99"; },
                &message),
            Code::InvalidArgument);
  EXPECT_NE(message.find("k99"), std::string::npos) << message;
  // The name in the file is the name that is looked up.
  EXPECT_EQ(with("decode_b1",
                 [](Json &plan) {
                   plan["steps"][0]["kernel"] = std::string("append\0x", 8);
                 }),
            Code::InvalidArgument);
  EXPECT_EQ(
      with("decode_b1", [](Json &plan) { plan["steps"][0]["kernel"] = ""; }),
      Code::InvalidArgument);
}

TEST_F(PlanTest, GridsAreNotNegative) {
  EXPECT_EQ(
      with("decode_b1", [](Json &plan) { plan["steps"][0]["grid"] = -1; }),
      Code::InvalidArgument);
}

TEST_F(PlanTest, GemmsFitTheirBuffers) {
  auto set = [&](const char *key, Json value) {
    return with("logits", [&](Json &plan) { plan["steps"][0][key] = value; });
  };
  EXPECT_EQ(set("m", 4), Code::Ok);
  EXPECT_EQ(set("m", 5), Code::InvalidArgument);
  EXPECT_EQ(set("m", 0), Code::InvalidArgument);
  EXPECT_EQ(set("n", 65), Code::InvalidArgument);
  EXPECT_EQ(set("k", 9), Code::InvalidArgument);
  EXPECT_EQ(set("k", int64_t(1) << 31), Code::InvalidArgument);
  EXPECT_EQ(set("format", "rows"), Code::InvalidArgument);
  EXPECT_EQ(set("dtype", "i8"), Code::InvalidArgument);
  // C over the weights or over an input.
  EXPECT_EQ(set("c", artifact.plans["logits"]["steps"][0]["b"]),
            Code::InvalidArgument);
  EXPECT_EQ(set("c", artifact.plans["logits"]["steps"][0]["a"]),
            Code::InvalidArgument);
}

TEST_F(PlanTest, AgreesWithTheManifest) {
  EXPECT_EQ(with("decode_b1", [](Json &plan) { plan["rows"] = 2; }),
            Code::InvalidArgument);
  EXPECT_EQ(with("decode_b1", [](Json &plan) { plan["entry"] = "x"; }),
            Code::InvalidArgument);
  EXPECT_EQ(with("decode_b1", [](Json &plan) { plan["kind"] = "prefill"; }),
            Code::InvalidArgument);
}

// An error or a plan, never a crash, for wrong values anywhere.
TEST_F(PlanTest, SurvivesEveryWrongValue) {
  artifact.write(dir.path());
  Manifest manifest =
      parseManifest(Artifact::readFile(dir.path() + "/manifest.json"), "m");
  SafeTensors weights(openFile(dir.path() + "/weights.safetensors"));
  CpuDevice host({});
  std::map<std::string, File> files;
  files.emplace("code/any.so", openFile(dir.path() + "/code/any.so"));
  const Json values[] = {Json(),         -1,  int64_t(1) << 40,
                         UINT64_MAX,     "x", Json::array(),
                         Json::object(), 0.5};
  const DeviceInfo &device = *manifest.findDevice("cpu");
  host.load(device.targets[0], files);
  for (const EntryInfo &entry : device.entries) {
    const Json &plan = artifact.plans[entry.name];
    for (const toy::Path &place : toy::allPaths(plan))
      for (const Json &value : values) {
        Json copy = plan;
        toy::valueAt(copy, place) = value;
        Code code_ = codeOf([&] {
          parsePlan(copy.dump(), "plan", entry, manifest.model, device, &weights,
                    host);
        });
        ASSERT_TRUE(code_ == Code::Ok || code_ == Code::InvalidArgument)
            << entry.name << toy::str(place) << " = " << value << ": "
            << codeName(code_);
      }
  }
}

} // namespace
