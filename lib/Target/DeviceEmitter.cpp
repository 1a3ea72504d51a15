//===-- DeviceEmitter.cpp - Kernels for a CUDA device to a cubin and PTX -------------------------------------------===//
#include "lib/Target/DeviceEmitter.h"

using namespace mlir;

LogicalResult sparse::target::emitDeviceCode(ModuleOp module, const std::string &, const std::string &) {
  return module.emitError() << "this compiler makes no code for CUDA devices";
}
