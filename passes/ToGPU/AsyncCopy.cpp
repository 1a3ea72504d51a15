//===-- AsyncCopy.cpp - Copies to shared memory behind a thread's back --------------------------------------------===//
#include "passes/ToGPU/AsyncCopy.h"

using namespace sparse::device;

void sparse::device::copyAsync(Device &d, Value sharedPointer, Value globalPointer) {
  NVVM::CpAsyncOp::create(
      d.b, d.loc, sharedPointer, globalPointer, d.b.getI32IntegerAttr(kCopyBytes),
      NVVM::LoadCacheModifierKindAttr::get(d.b.getContext(), NVVM::LoadCacheModifierKind::CG), Value());
}
void sparse::device::commitCopies(Device &d) { NVVM::CpAsyncCommitGroupOp::create(d.b, d.loc); }
void sparse::device::waitForCopies(Device &d, int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(d.b, d.loc, d.b.getI32IntegerAttr(pending));
}
