//===- CpuExecutor.h - Running plans on the host ----------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CPUEXECUTOR_H
#define SPARSE_RUNTIME_CPUEXECUTOR_H

#include "Executor.h"
#include "Gemm.h"
#include "Parallel.h"

namespace sparse::runtime {

/// Calls the kernels of a plan one after the other, each on all threads.
class CpuExecutor : public Executor {
public:
  CpuExecutor(const Model &model, Cache &cache, std::shared_ptr<Memory> memory,
              Parallel &parallel);
  void run(BoundPlan &bound) override;

private:
  Parallel &parallel;
  std::unique_ptr<Gemm> gemm;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CPUEXECUTOR_H
