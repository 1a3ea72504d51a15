//===- Executor.cpp - Running plans ---------------------------------------===//

#include "Executor.h"
#include "Checked.h"

#include <algorithm>
#include <optional>

using namespace sparse::runtime;

namespace {
/// What of a decode entry a buffer of its sampler is: an input or an output of
/// that name, or with no name the tokens beside its status.
struct SharedBuffer {
  BufferKind kind = BufferKind::Input;
  const char *name = nullptr;
};
} // namespace

static std::optional<SharedBuffer> sharedWithDecode(const PlanBuffer &buffer) {
  if (buffer.kind == BufferKind::Output)
    return SharedBuffer{};
  if (buffer.kind != BufferKind::Input)
    return std::nullopt;
  if (buffer.name == "logits")
    return SharedBuffer{BufferKind::Output, "logits"};
  for (const char *name : {"ids", "positions", "active"})
    if (buffer.name == name)
      return SharedBuffer{BufferKind::Input, name};
  return std::nullopt;
}

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
    plans.push_back(std::move(bound));
    ioOffsets.emplace_back(plan.buffers.size(), 0);
  }
  pairSamplers(model);
  std::vector<const BoundPlan *> decodeOf(plans.size(), nullptr);
  for (const BoundPlan &bound : plans)
    if (bound.sampler)
      decodeOf[bound.sampler->index] = &bound;
  for (BoundPlan &bound : plans) {
    const Plan &plan = *bound.plan;
    auto place = [&](auto wanted) {
      uint64_t begin = next;
      for (size_t i = 0; i < plan.buffers.size(); ++i)
        if (wanted(plan.buffers[i])) {
          ioOffsets[bound.index][i] = next;
          next = checkedAdd(next, alignTo(plan.buffers[i].bytes, 64));
        }
      return begin;
    };
    auto isStatus = [](const PlanBuffer &buffer) {
      return buffer.kind == BufferKind::Input && buffer.name == "status";
    };
    // What a sampler shares with its decode entry lies there.
    auto isOwn = [&](const PlanBuffer &buffer) {
      return !decodeOf[bound.index] || !sharedWithDecode(buffer);
    };
    bound.ioBegin = place([&](const PlanBuffer &buffer) {
      return buffer.kind == BufferKind::Input && !isStatus(buffer) &&
             isOwn(buffer);
    });
    if (bound.sampler) {
      bound.tokensBegin = next;
      next = checkedAdd(next, alignTo(plan.rows * 4, 64));
    }
    bound.statusBegin = place(isStatus);
    bound.outputBegin = place([&](const PlanBuffer &buffer) {
      return buffer.kind == BufferKind::Output && isOwn(buffer);
    });
    bound.ioEnd = next;
  }
  for (const BoundPlan &bound : plans) {
    if (!bound.sampler)
      continue;
    const std::vector<PlanBuffer> &buffers = bound.sampler->plan->buffers;
    for (size_t i = 0; i < buffers.size(); ++i)
      if (std::optional<SharedBuffer> shared = sharedWithDecode(buffers[i]))
        ioOffsets[bound.sampler->index][i] =
            shared->name
                ? ioOffsets[bound.index]
                           [bound.plan->find(shared->kind, shared->name)]
                : bound.tokensBegin;
  }
  arena = Region(*memory, arenaBytes, Backing::Whole, /*huge=*/false);
  io = Region(*memory, next, Backing::Whole, /*huge=*/false);
}

/// Finds the sampler of each decode entry that has all it works on.
void Executor::pairSamplers(const Model &model) {
  for (BoundPlan &bound : plans) {
    const Plan *sampler =
        bound.plan->kind == "decode" ? model.samplerOf(*bound.plan) : nullptr;
    if (!sampler || bound.plan->find(BufferKind::Input, "status") < 0)
      continue;
    bool complete = true;
    for (const PlanBuffer &buffer : sampler->buffers)
      if (std::optional<SharedBuffer> shared = sharedWithDecode(buffer))
        complete &=
            !shared->name || bound.plan->find(shared->kind, shared->name) >= 0;
    if (complete)
      bound.sampler = find(sampler);
  }
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
    bound.temperature =
        static_cast<float *>(at(BufferKind::Input, "temperature"));
    bound.topP = static_cast<float *>(at(BufferKind::Input, "top_p"));
    bound.topK = input("top_k");
    bound.stops = input("stops");
    bound.seeds = static_cast<uint64_t *>(at(BufferKind::Input, "seeds"));
    bound.counters = static_cast<uint64_t *>(at(BufferKind::Input, "counters"));
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

void Executor::beginSteps(BoundPlan &) { stepsQueued = stepsRead = 0; }

void Executor::queueStep(BoundPlan &decode) {
  run(decode);
  run(*decode.sampler);
  const int32_t *tokens =
      reinterpret_cast<const int32_t *>(io.data() + decode.tokensBegin);
  chosen.resize(mostQueued);
  chosen[stepsQueued++ % mostQueued].assign(tokens, tokens + decode.plan->rows);
}

const int32_t *Executor::readStep(BoundPlan &) {
  return chosen[stepsRead++ % mostQueued].data();
}

void Executor::checkStatus(const BoundPlan &bound) const {
  if (bound.status && *bound.status != 0)
    fail(Code::Internal,
         "entry %s: a kernel reported status %d (an append without a reserved "
         "slot)",
         bound.plan->name.c_str(), *bound.status);
}
