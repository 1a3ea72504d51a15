//===- CudaExecutor.cpp - Running plans on a card -------------------------===//

#include "cuda/CudaExecutor.h"
#include "Status.h"

#include <algorithm>

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

// Calls of other threads of the process must not end our capture.
static constexpr int captureRelaxed = 2;

static Address addressOf(const void *pointer) {
  return static_cast<Address>(reinterpret_cast<uintptr_t>(pointer));
}

CudaExecutor::CudaExecutor(const Model &model, Cache &cache,
                           std::shared_ptr<CudaMemory> memory,
                           const Platform &platform)
    : Executor(model, cache, memory), device(std::move(memory)),
      stream(device->stream), driver(stream.driver), platform(platform),
      staging(stream.card, io.size()) {
  setHostIo(staging.data());
  graphs.resize(plans.size(), {nullptr, nullptr, nullptr});
  planned.resize(plans.size());
  bool multiplies = false;
  for (const BoundPlan &bound : plans)
    for (const PlanStep &step : bound.plan->steps)
      multiplies |= step.isGemm;
  if (multiplies)
    products = platform.createProducts(*stream.card, *device);
}

CudaExecutor::~CudaExecutor() {
  stream.synchronize();
  Card::Use use(*stream.card);
  for (const auto &parts : graphs)
    for (GraphExecRef graph : parts)
      if (graph)
        driver.graphExecDestroy(graph);
}

//===----------------------------------------------------------------------===//
// The parts of a step
//===----------------------------------------------------------------------===//

void CudaExecutor::enqueueInputs(const BoundPlan &bound) {
  if (bound.ioBegin < bound.outputBegin)
    stream.note(driver.copyToDevice(addressOf(io.data()) + bound.ioBegin,
                                    staging.data() + bound.ioBegin,
                                    bound.outputBegin - bound.ioBegin,
                                    stream.get()),
                "cannot copy the inputs");
}

void CudaExecutor::enqueueOutputs(const BoundPlan &bound) {
  if (bound.statusBegin < bound.ioEnd)
    stream.note(driver.copyToHost(staging.data() + bound.statusBegin,
                                  addressOf(io.data()) + bound.statusBegin,
                                  bound.ioEnd - bound.statusBegin,
                                  stream.get()),
                "cannot copy the outputs");
}

void CudaExecutor::enqueueLaunch(const LaunchStep &step,
                                 std::vector<void *> &args, bool afterLaunch) {
  LaunchAttribute attributes[2] = {};
  LaunchConfig config = {};
  std::copy(step.grid.begin(), step.grid.end(), config.grid);
  std::copy(step.block.begin(), step.block.end(), config.block);
  config.sharedBytes = step.shared;
  config.stream = stream.get();
  config.attributes = attributes;
  if (step.cluster > 1) {
    LaunchAttribute &cluster = attributes[config.attributeCount++];
    cluster.id = launchCluster;
    cluster.cluster[0] = step.cluster;
    cluster.cluster[1] = cluster.cluster[2] = 1;
  }
  // Only a launch can let its successor begin early.
  if (step.dependent && afterLaunch) {
    LaunchAttribute &dependent = attributes[config.attributeCount++];
    dependent.id = launchDependent;
    dependent.enabled = 1;
  }
  // Each parameter is a pointer; the driver wants to know where it lies. It
  // knows how many there are, a reader of the list does by the final null.
  std::vector<void *> parameters;
  for (void *&arg : args)
    parameters.push_back(&arg);
  parameters.push_back(nullptr);
  Result result =
      driver.launch(&config, reinterpret_cast<FunctionRef>(step.kernel),
                    parameters.data(), nullptr);
  if (result != success)
    stream.note(result, ("kernel " + step.name + " does not start").c_str());
}

void CudaExecutor::enqueueSteps(const BoundPlan &bound, bool afterLaunch) {
  const std::vector<PlanStep> &steps = bound.plan->steps;
  for (size_t i = 0; i < steps.size() && !stream.failed(); ++i) {
    if (steps[i].isGemm) {
      planned[bound.index][i]->enqueue(stream);
      continue;
    }
    std::vector<void *> args = bound.args[i];
    enqueueLaunch(steps[i].launch, args,
                  i > 0 ? !steps[i - 1].isGemm : afterLaunch);
  }
}

/// Chooses algorithms, and runs each product once: a library may load code at
/// its first call, which a capture does not allow. What they write is garbage
/// that the step writes again.
void CudaExecutor::prepareProducts(const BoundPlan &bound) {
  auto &mine = planned[bound.index];
  if (!mine.empty())
    return;
  std::vector<std::unique_ptr<Product>> fresh(bound.plan->steps.size());
  for (size_t i = 0; i < fresh.size(); ++i) {
    const PlanStep &step = bound.plan->steps[i];
    if (!step.isGemm)
      continue;
    fresh[i] = products->plan(step.gemm, bound.buffers[step.gemm.a],
                              bound.buffers[step.gemm.b],
                              bound.buffers[step.gemm.c]);
    stream.enqueued();
    fresh[i]->enqueue(stream);
  }
  mine = std::move(fresh);
}

GraphExecRef CudaExecutor::graphOf(BoundPlan &bound, Part part) {
  GraphExecRef &exec = graphs[bound.index][part];
  if (exec)
    return exec;
  prepareProducts(bound);
  if (part == StepsAndSampler)
    prepareProducts(*bound.sampler);
  stream.synchronize();
  stream.throwIfFailed();
  check(driver, driver.captureBegin(stream.get(), captureRelaxed),
        "cannot record a step");
  GraphRef graph = nullptr;
  Result result = success;
  try {
    if (part == WholeStep)
      enqueueInputs(bound);
    enqueueSteps(bound, /*afterLaunch=*/false);
    if (part == WholeStep)
      enqueueOutputs(bound);
    if (part == StepsAndSampler)
      enqueueSteps(*bound.sampler, !bound.plan->steps.empty() &&
                                       !bound.plan->steps.back().isGemm);
    result = driver.captureEnd(stream.get(), &graph);
  } catch (...) {
    driver.captureEnd(stream.get(), &graph);
    if (graph)
      driver.graphDestroy(graph);
    throw;
  }
  if (result == success && !stream.failed())
    result = driver.graphInstantiate(&exec, graph, 0);
  if (result != success)
    exec = nullptr;
  if (graph)
    driver.graphDestroy(graph);
  stream.throwIfFailed();
  check(driver, result, "cannot make a graph of a step");
  return exec;
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

void CudaExecutor::prepare(BoundPlan &bound) {
  Card::Use use(*stream.card);
  stream.throwIfFailed();
  graphOf(bound, WholeStep);
}

void CudaExecutor::run(BoundPlan &bound) {
  Card::Use use(*stream.card);
  stream.throwIfFailed();
  GraphExecRef graph = graphOf(bound, WholeStep);
  if (bound.status)
    *bound.status = 0;
  cache.flush();
  stream.enqueued();
  stream.note(driver.graphLaunch(graph, stream.get()), "a step does not start");
  stream.synchronize();
  stream.throwIfFailed();
  checkStatus(bound);
}

void CudaExecutor::runMany(BoundPlan &bound, size_t count,
                           const std::function<void(size_t)> &set) {
  Card::Use use(*stream.card);
  stream.throwIfFailed();
  GraphExecRef graph = graphOf(bound, StepsAlone);
  // Inputs wait in slots of their own until their step runs.
  constexpr size_t slots = 64;
  uint64_t bytes = bound.statusBegin - bound.ioBegin;
  PinnedMemory waiting(stream.card, slots * bytes);
  cache.flush();
  Address device = addressOf(io.data());
  stream.enqueued();
  if (bound.status) {
    // A status that a step sets stays until the end.
    *bound.status = 0;
    stream.note(driver.copyToDevice(device + bound.statusBegin, bound.status, 4,
                                    stream.get()),
                "cannot copy the inputs");
  }
  for (size_t i = 0; i < count && !stream.failed(); ++i) {
    if (i > 0 && i % slots == 0)
      stream.synchronize();
    set(i);
    uint8_t *slot = waiting.data() + i % slots * bytes;
    std::copy_n(staging.data() + bound.ioBegin, bytes, slot);
    stream.enqueued();
    stream.note(driver.copyToDevice(device + bound.ioBegin, slot, bytes,
                                    stream.get()),
                "cannot copy the inputs");
    stream.note(driver.graphLaunch(graph, stream.get()),
                "a step does not start");
  }
  enqueueOutputs(bound);
  stream.synchronize();
  stream.throwIfFailed();
  checkStatus(bound);
}

//===----------------------------------------------------------------------===//
// Steps that go on by themselves
//===----------------------------------------------------------------------===//

/// Tokens and status of a step, as they lie in `io`.
static uint64_t arrivalBytes(const BoundPlan &decode) {
  return decode.statusBegin + sizeof(int32_t) - decode.tokensBegin;
}

void CudaExecutor::beginSteps(BoundPlan &decode) {
  Card::Use use(*stream.card);
  stream.throwIfFailed();
  // All that can be refused for want of memory comes first.
  if (!arrivalsMemory) {
    uint64_t most = 0;
    for (const BoundPlan &bound : plans)
      if (bound.sampler)
        most = std::max(most, (arrivalBytes(bound) + 63) / 64 * 64);
    for (Arrival &arrival : arrivals)
      arrival.event = std::make_unique<Event>(stream);
    arrivalsMemory =
        std::make_unique<PinnedMemory>(stream.card, most * mostQueued);
    for (size_t i = 0; i < mostQueued; ++i)
      arrivals[i].data = arrivalsMemory->data() + i * most;
  }
  graphOf(decode, StepsAndSampler);
  Executor::beginSteps(decode);
  if (decode.status)
    *decode.status = 0; // what a step sets stays
  // Nobody writes these bytes of `staging` before the steps have been read.
  stream.enqueued();
  enqueueInputs(decode);
  enqueueInputs(*decode.sampler);
}

void CudaExecutor::queueStep(BoundPlan &decode) {
  Card::Use use(*stream.card);
  stream.throwIfFailed();
  GraphExecRef graph = graphOf(decode, StepsAndSampler);
  Arrival &arrival = arrivals[stepsQueued % mostQueued];
  cache.flush();
  stream.enqueued();
  stream.note(driver.graphLaunch(graph, stream.get()), "a step does not start");
  stream.note(driver.copyToHost(arrival.data,
                                addressOf(io.data()) + decode.tokensBegin,
                                arrivalBytes(decode), stream.get()),
              "cannot copy the tokens");
  arrival.event->record();
  ++stepsQueued;
  stream.throwIfFailed();
}

const int32_t *CudaExecutor::readStep(BoundPlan &decode) {
  const Arrival &arrival = arrivals[stepsRead++ % mostQueued];
  arrival.event->wait();
  stream.throwIfFailed();
  std::copy_n(arrival.data + (decode.statusBegin - decode.tokensBegin),
              sizeof(int32_t), reinterpret_cast<uint8_t *>(decode.status));
  checkStatus(decode);
  return reinterpret_cast<const int32_t *>(arrival.data);
}
