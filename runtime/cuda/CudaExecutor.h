//===- CudaExecutor.h - Running plans on a card -----------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CUDA_CUDAEXECUTOR_H
#define SPARSE_RUNTIME_CUDA_CUDAEXECUTOR_H

#include "Executor.h"
#include "cuda/CudaMemory.h"
#include "cuda/Products.h"

#include <array>

namespace sparse::runtime::cuda {

/// Runs a plan as one graph: inputs to the device, all steps, outputs back. A
/// graph is made at the first use of its plan and replayed from then on.
class CudaExecutor : public Executor {
public:
  CudaExecutor(const Model &model, Cache &cache,
               std::shared_ptr<CudaMemory> memory, const Platform &platform);
  ~CudaExecutor() override;

  void prepare(BoundPlan &bound) override;
  void run(BoundPlan &bound) override;
  void runMany(BoundPlan &bound, size_t count,
               const std::function<void(size_t)> &set) override;
  void beginSteps(BoundPlan &decode) override;
  void queueStep(BoundPlan &decode) override;
  const int32_t *readStep(BoundPlan &decode) override;

private:
  /// What of a step a graph holds: all, the steps alone for a step that follows
  /// another without waiting, or those and the choice of the tokens.
  enum Part { WholeStep, StepsAlone, StepsAndSampler };

  /// Where the tokens and the status of a step that was queued arrive.
  struct Arrival {
    std::unique_ptr<Event> event;
    uint8_t *data = nullptr;
  };

  GraphExecRef graphOf(BoundPlan &bound, Part part);
  void prepareProducts(const BoundPlan &bound);
  void enqueueInputs(const BoundPlan &bound);
  void enqueueSteps(const BoundPlan &bound, bool afterLaunch);
  void enqueueOutputs(const BoundPlan &bound);
  void enqueueLaunch(const LaunchStep &step, std::vector<void *> &args,
                     bool afterLaunch);

  std::shared_ptr<CudaMemory> device;
  Stream &stream;
  const Driver &driver;
  Platform platform;
  PinnedMemory staging; ///< the host's side of `io`
  std::unique_ptr<Products> products;
  /// Per plan and part; null until its first use.
  std::vector<std::array<GraphExecRef, 3>> graphs;
  /// Per plan and step; null where the step is a launch.
  std::vector<std::vector<std::unique_ptr<Product>>> planned;
  std::unique_ptr<PinnedMemory> arrivalsMemory; ///< from the first use on
  std::array<Arrival, mostQueued> arrivals;
};

} // namespace sparse::runtime::cuda

#endif // SPARSE_RUNTIME_CUDA_CUDAEXECUTOR_H
