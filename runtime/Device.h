//===- Device.h - Where a model runs ----------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_DEVICE_H
#define SPARSE_RUNTIME_DEVICE_H

#include "CodeObject.h"
#include "Manifest.h"
#include "Memory.h"
#include "Parallel.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sparse::runtime {

class Cache;
class Executor;
class Model;
struct LoadOptions;
struct Plan;

/// One device with the code and the weights of one model. Immutable once the
/// model is loaded; contexts of any threads share it.
class Device {
public:
  virtual ~Device() = default;

  /// "cpu", or "cuda:0" and the name of the card.
  virtual std::string name() const = 0;

  /// True when the model's weights are used where they were mapped.
  virtual bool onHost() const = 0;

  /// What `target` needs and this device lacks; empty when it runs here.
  virtual std::string lacks(const Target &target) const = 0;

  /// Loads the code of a target out of the files of the artifact.
  virtual void load(const Target &target,
                    std::map<std::string, File> &files) = 0;

  /// Null when the code has no such kernel. Only after `load`.
  virtual KernelRef find(const char *name) const = 0;

  /// Puts the weights that the plans name where kernels read them.
  virtual void place(std::vector<Plan> &plans) = 0;

  /// The same with random numbers for weights that nobody has.
  virtual void placeRandom(std::vector<Plan> &plans, uint64_t seed) = 0;

  /// How much of the memory a cache may take when nobody says.
  virtual uint64_t defaultCacheBytes() const = 0;

  /// The memory of one context.
  virtual std::shared_ptr<Memory> createMemory() const = 0;

  /// `memory` is one that `createMemory` made, or the application's where the
  /// device is the host.
  virtual std::unique_ptr<Executor>
  createExecutor(const Model &model, Cache &cache,
                 std::shared_ptr<Memory> memory, Parallel &parallel) const = 0;
};

/// Opens a device by name: "cpu", "cuda" or "cuda:N". Throws UNAVAILABLE.
std::shared_ptr<Device> openDevice(const std::string &name,
                                   const LoadOptions &options);

/// "cuda" of "cuda:1".
std::string deviceKind(const std::string &name);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_DEVICE_H
