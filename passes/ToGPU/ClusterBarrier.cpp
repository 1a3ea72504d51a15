//===-- ClusterBarrier.cpp - Blocks of one cluster ----------------------------------------------------------------===//
#include "passes/ToGPU/ClusterBarrier.h"

using namespace sparse::device;

void sparse::device::arriveOnly(Device &d) {
  NVVM::ClusterArriveRelaxedOp::create(d.b, d.loc, d.b.getUnitAttr());
}
void sparse::device::arrive(Device &d) { NVVM::ClusterArriveOp::create(d.b, d.loc, d.b.getUnitAttr()); }
void sparse::device::waitForCluster(Device &d) { NVVM::ClusterWaitOp::create(d.b, d.loc, d.b.getUnitAttr()); }

Span sparse::device::ofBlock(Device &d, Span span, Value rank) {
  auto type = LLVM::LLVMPointerType::get(d.b.getContext(), static_cast<unsigned>(NVVM::NVVMMemorySpace::SharedCluster));
  return {NVVM::MapaOp::create(d.b, d.loc, type, span.base, rank), span.element};
}
