//===- Model.h - A loaded artifact ------------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_MODEL_H
#define SPARSE_RUNTIME_MODEL_H

#include "Device.h"
#include "Manifest.h"
#include "Plan.h"
#include "SafeTensors.h"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace sparse::runtime {

namespace cuda {
struct Platform;
}

enum class LogLevel { Debug = 0, Info = 1, Warning = 2, Error = 3 };
using LogFn = std::function<void(LogLevel, const std::string &)>;

struct LoadOptions {
  /// Check the digests of sections. The manifest is always checked.
  bool verify = true;
  /// Map the weights instead of reading them into huge pages: processes share
  /// the memory, decoding is slower. Weights of more than half of the physical
  /// memory are always mapped.
  bool mapWeights = false;
  /// The device to run on: "cpu", "cuda" or "cuda:N"; with commas between, the
  /// first of these that is there and that the model has code for.
  std::string device = "cpu";
  /// Random numbers for the weights of an artifact that has none.
  bool randomWeights = false;
  uint64_t weightsSeed = 0;
  /// Name of the target to use; empty = the best that the device supports.
  std::string target;
  /// CPU features to assume; empty = those of the host.
  std::set<std::string> cpuFeatures;
  /// The libraries of CUDA; null = those of this machine.
  const cuda::Platform *cuda = nullptr;
  LogFn log;
};

/// A model directory, verified and mapped. Immutable after loading, so that
/// any number of contexts on any threads may share it.
class Model {
public:
  Model(const std::string &path, const LoadOptions &options);

  const Manifest &manifest() const { return info; }
  /// Where it runs, and what the artifact holds for that.
  const Device &device() const { return *place; }
  const DeviceInfo &part() const { return *chosenPart; }
  const std::vector<LayerLayout> &layers() const { return chosenPart->layers; }
  const Target &target() const { return *chosen; }
  const std::vector<Plan> &plans() const { return entries; }
  const std::string &path() const { return directory; }
  /// What the content of a cache depends on: the manifest's digest, and the
  /// seed of random weights.
  const std::string &identity() const { return identityText; }
  /// The text of tokenizer.json, verified; empty when there is none.
  const std::string &tokenizer() const { return tokenizerText; }

  /// Null when there is no entry of this name.
  const Plan *findPlan(const char *name) const;

  /// The entry of kind `prefill`, or null.
  const Plan *prefill() const { return prefillPlan; }

  /// Entries of kind `decode` by ascending number of rows.
  const std::vector<const Plan *> &decodeBuckets() const { return buckets; }

  /// The entry that chooses the tokens of a decode entry, or null.
  const Plan *samplerOf(const Plan &decode) const;

  /// Bytes of one token of one KV head in a dense cache.
  uint64_t denseSlotBytes(const LayerLayout &layout) const;

private:
  void open(const LoadOptions &options);
  void choose(const std::string &name, const LoadOptions &options);
  void indexPlans();

  std::string directory, identityText;
  Manifest info;
  std::shared_ptr<Device> place;
  const DeviceInfo *chosenPart = nullptr;
  const Target *chosen = nullptr;
  SafeTensors weights;
  std::vector<Plan> entries;
  const Plan *prefillPlan = nullptr;
  std::vector<const Plan *> buckets;
  std::string tokenizerText;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_MODEL_H
