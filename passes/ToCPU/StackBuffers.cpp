//===-- StackBuffers.cpp - Temporaries of a kernel in its stack frame ---------------------------------------------===//
#include "passes/Passes.h"

#include "mlir/Interfaces/ViewLikeInterface.h"

namespace sparse {
#define GEN_PASS_DEF_STACKBUFFERSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;

/// Whether a view of `buffer` leaves its block through a terminator: then the next iteration may still read it.
static bool escapes(Value buffer) {
  for (Operation *user : buffer.getUsers()) {
    if (user->hasTrait<OpTrait::IsTerminator>())
      return true;
    if (isa<ViewLikeOpInterface>(user) && escapes(user->getResult(0)))
      return true;
  }
  return false;
}

namespace {
class StackBuffers : public sparse::impl::StackBuffersPassBase<StackBuffers> {
public:
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    SmallVector<memref::AllocOp> allocs;
    func.walk([&](memref::AllocOp op) { allocs.push_back(op); });
    // A copy is a loop like any other; LLVM's lowering of memref.copy would call into a runtime library.
    func.walk([&](memref::CopyOp copy) {
      OpBuilder at(copy);
      if (copy.getSource() != copy.getTarget()) // a slice back to where it is
        linalg::CopyOp::create(at, copy.getLoc(), copy.getSource(), copy.getTarget());
      copy.erase();
    });
    OpBuilder b(&func.front(), func.front().begin());
    for (memref::AllocOp alloc : allocs) {
      if (!alloc.getType().hasStaticShape() || (alloc->getBlock() != &func.front() && escapes(alloc))) {
        alloc.emitError("needs memory that outlives its block; kernels do not allocate");
        return signalPassFailure();
      }
      auto alloca = memref::AllocaOp::create(b, alloc.getLoc(), alloc.getType(), ValueRange{}, ValueRange{},
                                             b.getI64IntegerAttr(64));
      for (Operation *user : llvm::make_early_inc_range(alloc->getUsers()))
        if (isa<memref::DeallocOp>(user))
          user->erase();
      alloc.replaceAllUsesWith(alloca.getResult());
      alloc.erase();
    }
  }
};
} // namespace
