//===- Executor.cpp - Running plans ---------------------------------------===//

#include "Executor.h"
#include "Checked.h"

#include <algorithm>

using namespace sparse::runtime;

Executor::Executor(const Model &model, Cache &cache,
                   std::shared_ptr<Memory> given)
    : cache(cache), memory(std::move(given)) {
  layOut(model);
  bind();
  setHostIo(io.data());
}

/// Places all inputs and outputs, and makes room for them and for the arena.
void Executor::layOut(const Model &model) {
  uint64_t arenaBytes = 0, next = 0;
  for (const Plan &plan : model.plans()) {
    arenaBytes = std::max(arenaBytes, plan.arenaBytes);
    BoundPlan bound;
    bound.plan = &plan;
    bound.index = plans.size();
    std::vector<uint64_t> offsets(plan.buffers.size(), 0);
    auto place = [&](auto wanted) {
      uint64_t begin = next;
      for (size_t i = 0; i < plan.buffers.size(); ++i)
        if (wanted(plan.buffers[i])) {
          offsets[i] = next;
          next = checkedAdd(next, alignTo(plan.buffers[i].bytes, 64));
        }
      return begin;
    };
    auto isStatus = [](const PlanBuffer &buffer) {
      return buffer.kind == BufferKind::Input && buffer.name == "status";
    };
    bound.ioBegin = place([&](const PlanBuffer &buffer) {
      return buffer.kind == BufferKind::Input && !isStatus(buffer);
    });
    bound.statusBegin = place(isStatus);
    bound.outputBegin = place([](const PlanBuffer &buffer) {
      return buffer.kind == BufferKind::Output;
    });
    bound.ioEnd = next;
    plans.push_back(std::move(bound));
    ioOffsets.push_back(std::move(offsets));
  }
  arena = Region(*memory, arenaBytes, Backing::Whole, /*huge=*/false);
  io = Region(*memory, next, Backing::Whole, /*huge=*/false);
}

void Executor::bind() {
  for (BoundPlan &bound : plans) {
    const Plan &plan = *bound.plan;
    for (size_t i = 0; i < plan.buffers.size(); ++i) {
      const PlanBuffer &buffer = plan.buffers[i];
      void *address = nullptr;
      switch (buffer.kind) {
      case BufferKind::Input:
      case BufferKind::Output:
        address = io.data() + ioOffsets[bound.index][i];
        break;
      case BufferKind::Weight:
        // Kernels take all buffers alike; on the host the mapping is
        // read-only, so a kernel that wrote to a weight would fault.
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
    for (const PlanStep &step : plan.steps) {
      std::vector<void *> args;
      for (uint32_t index : step.launch.args)
        args.push_back(bound.buffers[index]);
      bound.args.push_back(std::move(args));
    }
  }
}

void Executor::setHostIo(uint8_t *base) {
  for (BoundPlan &bound : plans) {
    auto at = [&](BufferKind kind, const char *name) -> void * {
      int index = bound.plan->find(kind, name);
      return index < 0 ? nullptr : base + ioOffsets[bound.index][index];
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
  }
}

BoundPlan *Executor::find(const Plan *plan) {
  for (BoundPlan &bound : plans)
    if (plan && bound.plan == plan)
      return &bound;
  return nullptr;
}

void Executor::runMany(BoundPlan &bound, size_t count,
                       const std::function<void(size_t)> &set) {
  for (size_t i = 0; i < count; ++i) {
    set(i);
    run(bound);
  }
}

void Executor::checkStatus(const BoundPlan &bound) const {
  if (bound.status && *bound.status != 0)
    fail(Code::Internal,
         "entry %s: a kernel reported status %d (an append without a reserved "
         "slot)",
         bound.plan->name.c_str(), *bound.status);
}
