//===-- AsyncCopy.cpp - Copies to shared memory behind a thread's back --------------------------------------------===//
#include "passes/ToGPU/AsyncCopy.h"

using namespace sparse::device;

void sparse::device::copyAsync(Device &d, Value sharedPointer, Value globalPointer) {
  NVVM::CpAsyncOp::create(
      d.b, d.loc, sharedPointer, globalPointer, d.b.getI32IntegerAttr(kCopyBytes),
      NVVM::LoadCacheModifierKindAttr::get(d.b.getContext(), NVVM::LoadCacheModifierKind::CG), Value());
}
void sparse::device::copyOnce(Device &d, Value sharedPointer, Value globalPointer, Value policy) {
  // The dialect's op takes no policy.
  Value target = LLVM::PtrToIntOp::create(d.b, d.loc, d.b.getI32Type(), sharedPointer);
  LLVM::InlineAsmOp::create(d.b, d.loc, TypeRange(), ValueRange{target, globalPointer, policy},
                            "cp.async.cg.shared.global.L2::cache_hint [$0], [$1], 16, $2;", "r,l,l,~{memory}",
                            /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::TailCallKind::None,
                            LLVM::AsmDialectAttr::get(d.b.getContext(), LLVM::AsmDialect::AD_ATT), ArrayAttr());
}
void sparse::device::commitCopies(Device &d) { NVVM::CpAsyncCommitGroupOp::create(d.b, d.loc); }
void sparse::device::waitForCopies(Device &d, int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(d.b, d.loc, d.b.getI32IntegerAttr(pending));
}
