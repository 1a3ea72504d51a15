//===- ToyModel.h - An artifact and its oracle ------------------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_TOYMODEL_H
#define SPARSE_UNITTESTS_TOYMODEL_H

#include "Json.h"
#include "Model.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sparse::runtime {
struct ContextOptions;
} // namespace sparse::runtime

namespace toy {

/// Of a context that tests can fill.
sparse::runtime::ContextOptions smallOptions();

using sparse::runtime::Json;

/// A directory that is removed with its content.
class TempDir {
public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir &) = delete;
  const std::string &path() const { return directory; }

private:
  std::string directory;
};

struct Layer {
  int64_t page = 4;
  std::vector<int64_t> caps = {-1, -1}; ///< per KV head; -1 = none
  std::string prefillCap = "none";
  bool writesInPlace = false;
  int64_t maxPages = 64;
};

struct Config {
  std::vector<Layer> layers = {Layer(), Layer()};
  int64_t dim = 4, vocab = 48, chunk = 8, maxContext = 256;
  std::vector<int64_t> buckets = {1, 2, 4};
  int64_t logitsRows = 4;
  bool samplers = true; ///< entries that choose tokens
  std::string gemm; ///< dtype of a gemm in the logits entry; empty = a kernel
  bool cuda = false;    ///< also for the device cuda
  std::string cudaCode; ///< bytes of its code; empty = what FakeCuda.h loads

  int64_t heads() const { return static_cast<int64_t>(layers[0].caps.size()); }
  int64_t hidden() const { return heads() * dim; }
};

/// Two layers, the second with caps on one head or on both.
Config cappedConfig(const std::string &prefillCap);

/// The content of a model directory: change it, then write it.
struct Artifact {
  Json manifest;
  std::map<std::string, Json> plans;        ///< by entry name
  std::map<std::string, Json> cudaPlans;    ///< of the device cuda
  std::map<std::string, std::string> files; ///< sections, by path

  /// The part of the manifest for the CPU.
  Json &cpu() { return manifest["devices"]["cpu"]; }
  Json &cuda() { return manifest["devices"]["cuda"]; }

  /// Serializes the plans, fills in sections and digests, and writes all of it.
  void write(const std::string &directory);

  /// The same with the manifest's text as it is (no digest is computed).
  static void writeFile(const std::string &path, const std::string &text);
  static std::string readFile(const std::string &path);
};

Artifact makeArtifact(const Config &config);

/// A file that the build made for the tests: where it was made, or of the same
/// name in the folder that the variable SPARSE_TEST_FILES names.
std::string builtFile(const std::string &path);

/// The way to a value: member names and indices.
using Path = std::vector<std::string>;

/// The ways to all values of `json`, itself excepted.
std::vector<Path> allPaths(const Json &json);

/// The value at the end of a way.
Json &valueAt(Json &json, const Path &path);
std::string str(const Path &path);

/// The manifest's text with its digest.
std::string sealManifest(Json manifest);

/// Writes the artifact of `config` to a temporary directory and loads it.
struct LoadedModel {
  TempDir dir;
  std::shared_ptr<const sparse::runtime::Model> model;
};
std::unique_ptr<LoadedModel>
load(const Config &config, const sparse::runtime::LoadOptions &options = {});

/// The same model in plain C++, for one sequence.
class Oracle {
public:
  explicit Oracle(const Config &config);

  /// Appends a prompt; returns the hidden rows [n][hidden].
  std::vector<std::vector<float>> prefill(const std::vector<int32_t> &ids);

  /// Appends one token; returns the logits.
  std::vector<float> decode(int32_t id);

  std::vector<float> logits(const std::vector<float> &hidden) const;
  uint64_t extent(size_t layer, size_t head) const;
  uint64_t length() const { return position; }
  void trim(uint64_t n);

private:
  struct Token {
    int32_t id;
    int64_t position;
  };
  struct Head {
    std::vector<Token> live;
    bool victim = false; ///< a dead slot exists
  };

  void append(Head &head, int32_t id);
  void compact(bool chunk);
  std::vector<float> attend(int64_t queryPosition) const;

  Config config;
  std::vector<std::vector<Head>> heads; ///< [layer][head]
  int64_t position = 0;
};

} // namespace toy

#endif // SPARSE_UNITTESTS_TOYMODEL_H
