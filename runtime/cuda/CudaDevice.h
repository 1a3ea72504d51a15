//===- CudaDevice.h - A card as a device ------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_CUDADEVICE_H
#define SPARSE_RUNTIME_CUDA_CUDADEVICE_H

#include "Device.h"
#include "cuda/Card.h"
#include "cuda/Products.h"

namespace sparse::runtime::cuda {

/// Runs cubins or PTX through the driver.
class CudaDevice : public Device {
public:
  CudaDevice(const Platform &platform, int ordinal);
  ~CudaDevice() override;

  std::string name() const override;
  bool onHost() const override { return false; }
  std::string lacks(const Target &target) const override;
  void load(const Target &target, std::map<std::string, File> &files) override;
  KernelRef find(const char *name) const override;
  void place(std::vector<Plan> &plans) override;
  void placeRandom(std::vector<Plan> &plans, uint64_t seed) override;
  uint64_t defaultCacheBytes() const override;
  std::shared_ptr<Memory> createMemory() const override;
  std::unique_ptr<Executor> createExecutor(const Model &model, Cache &cache,
                                           std::shared_ptr<Memory> memory,
                                           Parallel &parallel) const override;

private:
  struct Piece;
  using Pieces = std::map<std::string, Piece>;
  Pieces allocateWeights(std::vector<Plan> &plans);
  void prepareKernels(const std::vector<Plan> &plans);

  Platform platform;
  std::shared_ptr<Card> card;
  ModuleRef module = nullptr;
  Address weights = 0;
};

/// `platform` null: the libraries of this machine.
std::shared_ptr<Device> openCudaDevice(int ordinal, const Platform *platform);

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_CUDADEVICE_H
