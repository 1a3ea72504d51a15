//===- Executor.h - Running plans -------------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_EXECUTOR_H
#define SPARSE_RUNTIME_EXECUTOR_H

#include "Cache.h"
#include "Gemm.h"
#include "Memory.h"
#include "Model.h"
#include "Parallel.h"

#include <vector>

namespace sparse::runtime {

/// The buffers of one plan bound to addresses, ready to run.
struct BoundPlan {
  const Plan *plan = nullptr;
  std::vector<void *> buffers;
  std::vector<std::vector<void *>> args; ///< per step
  // Null where the plan has no such buffer.
  int32_t *ids = nullptr, *positions = nullptr, *sequences = nullptr,
          *active = nullptr, *status = nullptr;
  float *hiddenIn = nullptr, *hiddenOut = nullptr, *logits = nullptr;
};

/// Binds all plans of a model to one cache and runs them. All addresses are
/// constant, so binding happens once. Entries share one arena, because they
/// never run at the same time.
class Executor {
public:
  Executor(const Model &model, Cache &cache, Memory &memory,
           Parallel &parallel);

  /// Null when the model has no such entry.
  BoundPlan *find(const Plan *plan);

  /// Clears `status`, runs all steps and throws INTERNAL when a kernel has set
  /// it.
  void run(BoundPlan &bound);

  uint64_t arenaBytes() const { return arena.size(); }

private:
  Parallel &parallel;
  std::unique_ptr<Gemm> gemm;
  Region arena, io;
  std::vector<BoundPlan> plans;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_EXECUTOR_H
