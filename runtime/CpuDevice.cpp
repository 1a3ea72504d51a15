//===- CpuDevice.cpp - The host as a device -------------------------------===//

#include "CpuDevice.h"
#include "CpuExecutor.h"
#include "CpuFeatures.h"
#include "Status.h"

#include <unistd.h>

using namespace sparse::runtime;

CpuDevice::CpuDevice(std::set<std::string> given)
    : features(given.empty() ? hostCpuFeatures() : std::move(given)) {}

std::string CpuDevice::lacks(const Target &target) const {
  std::string missing;
  for (const std::string &feature : target.requires_)
    if (!features.count(feature))
      missing += (missing.empty() ? "" : " ") + feature;
  return missing;
}

void CpuDevice::load(const Target &target, std::map<std::string, File> &files) {
  code = CodeObject(std::move(files.at(target.code)));
}

KernelRef CpuDevice::find(const char *name) const {
  return reinterpret_cast<KernelRef>(code.find(name));
}

void CpuDevice::placeRandom(std::vector<Plan> &, uint64_t) {
  fail(Code::Unimplemented,
       "random weights are made on a device: use --device cuda");
}

uint64_t CpuDevice::defaultCacheBytes() const {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) / 4 * 3;
}

std::shared_ptr<Memory> CpuDevice::createMemory() const {
  return std::make_shared<Memory>();
}

std::unique_ptr<Executor>
CpuDevice::createExecutor(const Model &model, Cache &cache,
                          std::shared_ptr<Memory> memory,
                          Parallel &parallel) const {
  return std::make_unique<CpuExecutor>(model, cache, std::move(memory),
                                       parallel);
}
