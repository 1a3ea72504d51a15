//===- Executor.cpp - Running plans ---------------------------------------===//

#include "Executor.h"
#include "Checked.h"

#include <algorithm>

using namespace sparse::runtime;

Executor::Executor(const Model &model, Cache &cache, Memory &memory,
                   Parallel &parallel)
    : parallel(parallel), gemm(createGemm()) {
  uint64_t arenaBytes = 0, ioBytes = 0;
  for (const Plan &plan : model.plans()) {
    arenaBytes = std::max(arenaBytes, plan.arenaBytes);
    for (const PlanBuffer &buffer : plan.buffers)
      if (buffer.kind == BufferKind::Input || buffer.kind == BufferKind::Output)
        ioBytes = checkedAdd(ioBytes, alignTo(buffer.bytes, 64));
  }
  arena = Region(memory, arenaBytes, Backing::Whole, /*huge=*/false);
  io = Region(memory, ioBytes, Backing::Whole, /*huge=*/false);

  uint8_t *next = io.data();
  for (const Plan &plan : model.plans()) {
    BoundPlan bound;
    bound.plan = &plan;
    for (const PlanBuffer &buffer : plan.buffers) {
      void *address = nullptr;
      switch (buffer.kind) {
      case BufferKind::Input:
      case BufferKind::Output:
        address = next;
        next += alignTo(buffer.bytes, 64);
        break;
      case BufferKind::Weight:
        // Kernels take all buffers alike; the mapping is read-only, so a
        // kernel that wrote to a weight would fault.
        address = const_cast<uint8_t *>(buffer.weight);
        break;
      case BufferKind::Arena:
        address = arena.data() + buffer.offset;
        break;
      case BufferKind::State:
        address = buffer.part == StatePart::Key ? cache.keyBase(buffer.layer)
                  : buffer.part == StatePart::Value
                      ? cache.valueBase(buffer.layer)
                      : cache.slabBase(buffer.layer, buffer.component);
        break;
      }
      bound.buffers.push_back(address);
    }
    auto at = [&](BufferKind kind, const char *name) -> void * {
      int index = plan.find(kind, name);
      return index < 0 ? nullptr : bound.buffers[index];
    };
    auto input = [&](const char *name) {
      return static_cast<int32_t *>(at(BufferKind::Input, name));
    };
    bound.ids = input("ids");
    bound.positions = input("positions");
    bound.sequences = input("sequences");
    bound.active = input("active");
    bound.status = input("status");
    bound.hiddenIn = static_cast<float *>(at(BufferKind::Input, "hidden"));
    bound.hiddenOut = static_cast<float *>(at(BufferKind::Output, "hidden"));
    bound.logits = static_cast<float *>(at(BufferKind::Output, "logits"));
    for (const PlanStep &step : plan.steps) {
      std::vector<void *> args;
      for (uint32_t index : step.launch.args)
        args.push_back(bound.buffers[index]);
      bound.args.push_back(std::move(args));
    }
    plans.push_back(std::move(bound));
  }
}

BoundPlan *Executor::find(const Plan *plan) {
  for (BoundPlan &bound : plans)
    if (plan && bound.plan == plan)
      return &bound;
  return nullptr;
}

void Executor::run(BoundPlan &bound) {
  if (bound.status)
    *bound.status = 0;
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
    Kernel kernel = step.launch.kernel;
    void *const *args = bound.args[i].data();
    parallel.forEach(step.launch.grid,
                     [=](int64_t task) { kernel(args, task); });
  }
  if (bound.status && *bound.status != 0)
    fail(Code::Internal,
         "entry %s: a kernel reported status %d (an append without a reserved "
         "slot)",
         plan.name.c_str(), *bound.status);
}
