//===- CpuDevice.h - The host as a device -----------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CPUDEVICE_H
#define SPARSE_RUNTIME_CPUDEVICE_H

#include "Device.h"

#include <set>

namespace sparse::runtime {

/// Runs shared objects on the threads of the context.
class CpuDevice : public Device {
public:
  /// `features`: those of the CPU; empty = ask the host.
  explicit CpuDevice(std::set<std::string> features);

  std::string name() const override { return "cpu"; }
  bool onHost() const override { return true; }
  std::string lacks(const Target &target) const override;
  void load(const Target &target, std::map<std::string, File> &files) override;
  KernelRef find(const char *name) const override;
  void place(std::vector<Plan> &) override {}
  void placeRandom(std::vector<Plan> &, uint64_t) override;
  uint64_t defaultCacheBytes() const override;
  std::shared_ptr<Memory> createMemory() const override;
  std::unique_ptr<Executor> createExecutor(const Model &model, Cache &cache,
                                           std::shared_ptr<Memory> memory,
                                           Parallel &parallel) const override;

private:
  std::set<std::string> features;
  CodeObject code;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CPUDEVICE_H
