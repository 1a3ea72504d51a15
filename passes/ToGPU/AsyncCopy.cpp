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

void BulkBarrier::prepare() { NVVM::MBarrierInitOp::create(d.b, d.loc, pointer, d.i32(1), Value()); }
void BulkBarrier::expect(Value bytes) {
  NVVM::MBarrierArriveExpectTxOp::create(d.b, d.loc, Type(), pointer, bytes, NVVM::MemScopeKind::CTA, false, Value());
}
void BulkBarrier::copy(Value sharedPointer, Value globalPointer, Value bytes, Value policy) {
  auto type = LLVM::LLVMPointerType::get(d.b.getContext(), static_cast<unsigned>(NVVM::NVVMMemorySpace::SharedCluster));
  Value target = LLVM::AddrSpaceCastOp::create(d.b, d.loc, type, sharedPointer);
  NVVM::CpAsyncBulkGlobalToSharedClusterOp::create(d.b, d.loc, target, globalPointer, pointer, bytes, Value(), policy);
}
void BulkBarrier::wait(Value parity) {
  d.repeatWhile({}, [&](ValueRange) -> SmallVector<Value> {
    Value done = NVVM::MBarrierTryWaitOp::create(d.b, d.loc, d.b.getI1Type(), pointer, parity, Value(),
                                                 NVVM::MemScopeKind::CTA, false);
    return {d.bitXor(done, d.boolean(true))};
  });
}
void sparse::device::publishBarriers(Device &d) {
  NVVM::FenceMbarrierInitOp::create(d.b, d.loc);
  NVVM::FenceProxyOp::create(d.b, d.loc, NVVM::ProxyKind::async_shared,
                             NVVM::SharedSpaceAttr::get(d.b.getContext(), NVVM::SharedSpace::shared_cta));
}
