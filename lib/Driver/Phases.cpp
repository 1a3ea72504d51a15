//===-- Phases.cpp - The phases of the road -----------------------------------------------------------------------===//
#include "lib/Driver/Phases.h"
#include "passes/Passes.h"
#include "passes/ToCPU/CPUPipeline.h"
#include "passes/ToGPU/GPUPipeline.h"

#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::driver;

static constexpr struct {
  llvm::StringLiteral name, summary;
} phases[kPhaseCount] = {
    {"import", "ONNX nodes as onnx ops, weights as symbols"},
    {"raise", "canonical onnx ops, sites attached"},
    {"mark", "policies on the sites, legality checked"},
    {"stateful", "entries with cache state, layouts solved"},
    {"fuse", "entries as kernels, weights packed"},
    {"linalg", "kernels as linalg on tensors"},
    {"kernels", "plans, and kernels as loops on buffers"},
    {"llvm", "kernels in the llvm dialect"},
    {"binary", "the artifact"},
};

llvm::StringRef sparse::driver::phaseName(Phase phase) { return phases[static_cast<unsigned>(phase)].name; }
llvm::StringRef sparse::driver::phaseSummary(Phase phase) { return phases[static_cast<unsigned>(phase)].summary; }

std::optional<Phase> sparse::driver::phaseNamed(llvm::StringRef name) {
  for (unsigned i = 0; i < kPhaseCount; ++i)
    if (phases[i].name == name)
      return static_cast<Phase>(i);
  return std::nullopt;
}

void sparse::driver::addPhase(OpPassManager &manager, Phase phase, const RoadOptions &options) {
  switch (phase) {
  case Phase::Import:
  case Phase::Binary:
    return;
  case Phase::Raise: {
    RaiseOptions raise;
    if (options.maxContext > 0)
      raise.maxContext = options.maxContext;
    return buildRaisePipeline(manager, raise);
  }
  case Phase::Mark: {
    MarkPassOptions mark;
    mark.policyFile = options.policyFile;
    mark.attention.assign(options.attention.begin(), options.attention.end());
    mark.kv.assign(options.kv.begin(), options.kv.end());
    mark.maxContext = options.maxContext;
    mark.prefillChunk = options.prefillChunk;
    mark.page = options.page;
    mark.kvType = options.kvType;
    manager.addPass(createMarkPass(mark));
    return;
  }
  case Phase::Stateful: {
    StatefulPassOptions stateful;
    stateful.prefillChunk = options.prefillChunk;
    stateful.maxContext = options.maxContext;
    stateful.page = options.page;
    stateful.kvType = options.kvType;
    stateful.buckets.assign(options.buckets.begin(), options.buckets.end());
    manager.addPass(createStatefulPass(stateful));
    return;
  }
  case Phase::Fuse: {
    FusePassOptions fuse;
    fuse.weightsType = options.weightsType;
    fuse.batchInvariant = options.batchInvariant;
    fuse.oneLaunch = !options.reference; // a reference kernel has the tasks of one op
    manager.addPass(createFusePass(fuse));
    manager.addPass(createApplySchedulePass({options.scheduleFile}));
    if (options.onDevice) {
      SetDeviceStrategyPassOptions strategy;
      strategy.reference = options.reference;
      manager.addPass(createSetDeviceStrategyPass(strategy));
      return;
    }
    SetStrategyPassOptions strategy;
    strategy.reference = options.reference;
    manager.addPass(createSetStrategyPass(strategy));
    return;
  }
  case Phase::Linalg:
    manager.addPass(createConvertToLinalgPass());
    return;
  case Phase::Kernels:
    return options.onDevice ? buildGPUKernelsPipeline(manager) : buildCPUKernelsPipeline(manager);
  case Phase::LLVM:
    return options.onDevice ? buildGPULLVMPipeline(manager) : buildCPULLVMPipeline(manager);
  }
}
