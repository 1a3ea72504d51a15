//===-- WrapKernels.cpp - The packed-argument ABI of kernels ------------------------------------------------------===//
#include "passes/Passes.h"

namespace sparse {
#define GEN_PASS_DEF_RECORDBUFFERSPASS
#define GEN_PASS_DEF_WRAPKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;

/// Stands for the extent of a dimension that only the runtime knows (pages, sequences); no kernel reads it.
static constexpr int64_t kUnknownExtent = int64_t(1) << 40;

namespace {
class RecordBuffers : public sparse::impl::RecordBuffersPassBase<RecordBuffers> {
public:
  void runOnOperation() override {
    Builder b(&getContext());
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (func->hasAttr("plan.kernel"))
        func->setAttr("plan.buffers", b.getTypeArrayAttr(func.getArgumentTypes().drop_back()));
  }
};

class WrapKernels : public sparse::impl::WrapKernelsPassBase<WrapKernels> {
public:
  void runOnOperation() override {
    for (auto func : llvm::make_early_inc_range(getOperation().getOps<LLVM::LLVMFuncOp>()))
      if (func->hasAttr("plan.buffers"))
        wrap(func);
  }

private:
  void wrap(LLVM::LLVMFuncOp func);
};
} // namespace

void WrapKernels::wrap(LLVM::LLVMFuncOp func) {
  OpBuilder b(func);
  Location loc = func.getLoc();
  auto ptr = LLVM::LLVMPointerType::get(&getContext());
  Type i64 = b.getI64Type();
  auto buffers = func->getAttrOfType<ArrayAttr>("plan.buffers");
  std::string name = func.getSymName().str();
  func.setSymName(name + ".body");
  func.setLinkage(LLVM::Linkage::Internal);
  func->removeAttr("plan.buffers");

  auto wrapper = LLVM::LLVMFuncOp::create(
      b, loc, name, LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(&getContext()), {ptr, i64}));
  wrapper->setAttr("plan.kernel", b.getUnitAttr());
  Block *entry = wrapper.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  auto constant = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(value));
  };
  SmallVector<Value> args;
  for (auto [index, attr] : llvm::enumerate(buffers.getAsValueRange<TypeAttr>())) {
    auto type = cast<MemRefType>(attr);
    Value slot = LLVM::GEPOp::create(b, loc, ptr, ptr, entry->getArgument(0),
                                     ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(index)});
    Value base = LLVM::LoadOp::create(b, loc, ptr, slot);
    args.append({base, base, constant(0)});
    auto [strides, offset] = type.getStridesAndOffset();
    for (int64_t size : type.getShape())
      args.push_back(constant(ShapedType::isDynamic(size) ? kUnknownExtent : size));
    for (int64_t stride : strides)
      args.push_back(constant(stride));
  }
  args.push_back(entry->getArgument(1));
  LLVM::CallOp::create(b, loc, func, args);
  LLVM::ReturnOp::create(b, loc, ValueRange{});
}
