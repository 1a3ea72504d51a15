//===-- RaisePipeline.cpp - The passes of the raise phase, in order -----------------------------------------------===//
#include "passes/Passes.h"

#include "mlir/Transforms/Passes.h"

using namespace sparse;

void sparse::buildRaisePipeline(mlir::OpPassManager &manager, const RaiseOptions &options) {
  manager.addPass(createOnnxFoldConstantsPass());
  manager.addPass(createOnnxRaiseLinearPass());
  manager.addPass(createOnnxRaiseActivationPass());
  manager.addPass(createOnnxRaiseRMSNormPass());
  manager.addPass(createOnnxRaiseRotaryPass({options.maxContext}));
  manager.addPass(createOnnxRaiseAttentionPass({options.maxContext}));
  // The views around the new ops meet the exporter's and cancel.
  manager.addPass(createOnnxFoldConstantsPass());
  manager.addPass(mlir::createCSEPass());
  // What is not raised is reported before the signature is: a missing attention explains a superfluous cache.
  manager.addPass(createOnnxInferTypesPass());
  manager.addPass(createOnnxCheckRaisedPass());
  manager.addPass(createOnnxCanonicalInterfacePass());
  manager.addPass(createOnnxAttachSitesPass());
}

void sparse::registerPipelines() {
  mlir::PassPipelineRegistration<RaiseOptions>("sparse-raise", "ONNX graph to canonical form", buildRaisePipeline);
}
