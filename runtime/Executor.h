//===- Executor.h - Running plans -------------------------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_EXECUTOR_H
#define SPARSE_RUNTIME_EXECUTOR_H

#include "Cache.h"
#include "Memory.h"
#include "Model.h"

#include <functional>
#include <memory>
#include <vector>

namespace sparse::runtime {

/// The buffers of one plan bound to addresses, ready to run.
struct BoundPlan {
  const Plan *plan = nullptr;
  size_t index = 0;
  std::vector<void *> buffers;           ///< addresses of the device
  std::vector<std::vector<void *>> args; ///< per step

  // Where the host writes inputs and reads outputs. Null where the plan has no
  // such buffer.
  int32_t *ids = nullptr, *positions = nullptr, *sequences = nullptr,
          *active = nullptr, *status = nullptr;
  float *hiddenIn = nullptr, *hiddenOut = nullptr, *logits = nullptr;
  // Of a sampling entry.
  float *temperature = nullptr, *topP = nullptr;
  int32_t *topK = nullptr, *stops = nullptr;
  uint64_t *seeds = nullptr, *counters = nullptr;

  /// The range of all inputs and outputs: inputs, `status`, outputs.
  uint64_t ioBegin = 0, statusBegin = 0, outputBegin = 0, ioEnd = 0;

  /// Of a decode entry: the entry that chooses the tokens of its rows, and
  /// where these lie, right before `status`. Null when there is none.
  BoundPlan *sampler = nullptr;
  uint64_t tokensBegin = 0;
};

/// Binds all plans of a model to one cache and runs them. All addresses are
/// constant, so binding happens once. Entries share one arena, because they
/// never run at the same time.
class Executor {
public:
  virtual ~Executor() = default;

  /// Null when the model has no such entry.
  BoundPlan *find(const Plan *plan);

  /// Makes what the first run of a plan needs, so that `run` itself asks for no
  /// memory. RESOURCE_EXHAUSTED otherwise.
  virtual void prepare(BoundPlan &) {}

  /// Clears `status`, runs all steps, waits for the outputs and throws
  /// INTERNAL when a kernel has set `status` or failed. RESOURCE_EXHAUSTED
  /// means that nothing ran.
  virtual void run(BoundPlan &bound) = 0;

  /// Runs a plan `count` times; `set` writes the inputs of each. Where steps
  /// queue up, nothing waits for one of them but the last: only its outputs are
  /// there afterwards.
  virtual void runMany(BoundPlan &bound, size_t count,
                       const std::function<void(size_t)> &set);

  // -- Steps that go on by themselves. `decode` has a sampler, which leaves the
  // inputs of the next step where the decode entry reads them.

  /// Most steps that can be queued and not read.
  static constexpr size_t mostQueued = 8;

  /// Brings the inputs of both entries, which the host has set, to where they
  /// are read. No step is queued.
  virtual void beginSteps(BoundPlan &decode);

  /// Queues a step: the decode entry, then its sampler. Where steps queue up,
  /// nothing waits. RESOURCE_EXHAUSTED means that nothing was queued.
  virtual void queueStep(BoundPlan &decode);

  /// Waits for the oldest step that is queued and not read, and gives the
  /// tokens of its rows until the next call. Throws as `run`.
  virtual const int32_t *readStep(BoundPlan &decode);

  uint64_t arenaBytes() const { return arena.size(); }

protected:
  Executor(const Model &model, Cache &cache, std::shared_ptr<Memory> memory);

  /// Makes the host use `base` for what lies at the start of `io`.
  void setHostIo(uint8_t *base);
  void checkStatus(const BoundPlan &bound) const;

  Cache &cache;
  std::shared_ptr<Memory> memory;
  Region arena, io;
  std::vector<BoundPlan> plans;
  size_t stepsQueued = 0, stepsRead = 0;

private:
  void layOut(const Model &model);
  void pairSamplers(const Model &model);
  void bind();

  std::vector<std::vector<uint64_t>> ioOffsets; ///< per plan and buffer
  std::vector<std::vector<int32_t>> chosen;     ///< tokens of steps, in a ring
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_EXECUTOR_H
