//===-- DeviceTargets.cpp - GPUs that the compiler knows ----------------------------------------------------------===//
#include "lib/Target/DeviceTargets.h"

#include "mlir/IR/Builders.h"

using namespace sparse;

namespace {
struct Facts {
  llvm::StringLiteral name;
  int64_t multiprocessors; ///< of the largest card of this architecture that schedules are sized for
  int64_t sharedMemory;    ///< bytes a block may ask for (CUDA programming guide, compute capabilities)
  bool clusters;
};
constexpr Facts kDevices[] = {
    {"sm_80", 108, 163 * 1024, false},
    {"sm_86", 84, 99 * 1024, false},
    {"sm_89", 128, 99 * 1024, false},
    {"sm_90a", 132, 227 * 1024, true},
};
} // namespace

sparsity::TargetAttr sparse::target::deviceTarget(mlir::MLIRContext *context, llvm::StringRef name) {
  context->getOrLoadDialect<sparsity::SparsityDialect>();
  for (const Facts &device : kDevices)
    if (device.name == name)
      return sparsity::TargetAttr::get(context, mlir::StringAttr::get(context, device.name), device.multiprocessors,
                                       device.sharedMemory, device.clusters);
  return {};
}

std::string sparse::target::deviceTargetNames() {
  std::string names;
  for (const Facts &device : kDevices)
    names += (names.empty() ? "" : ", ") + device.name.str();
  return names;
}
