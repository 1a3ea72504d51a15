//===- CpuExecutor.cpp - Running plans on the host ------------------------===//

#include "CpuExecutor.h"

using namespace sparse::runtime;

CpuExecutor::CpuExecutor(const Model &model, Cache &cache,
                         std::shared_ptr<Memory> memory, Parallel &parallel)
    : Executor(model, cache, std::move(memory)), parallel(parallel),
      gemm(createGemm()) {}

void CpuExecutor::run(BoundPlan &bound) {
  if (bound.status)
    *bound.status = 0;
  cache.flush();
  const Plan &plan = *bound.plan;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep &step = plan.steps[i];
    if (step.isGemm) {
      gemm->run(parallel, step.gemm,
                static_cast<const float *>(bound.buffers[step.gemm.a]),
                bound.buffers[step.gemm.b],
                static_cast<float *>(bound.buffers[step.gemm.c]));
      continue;
    }
    Kernel kernel = reinterpret_cast<Kernel>(step.launch.kernel);
    void *const *args = bound.args[i].data();
    parallel.forEach(static_cast<int64_t>(step.launch.grid[0]),
                     [=](int64_t task) { kernel(args, task); });
  }
  checkStatus(bound);
}
