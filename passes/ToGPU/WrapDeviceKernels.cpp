//===-- WrapDeviceKernels.cpp - Reference kernels as GPU kernels --------------------------------------------------===//
#include "passes/ToGPU/DeviceKernel.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace sparse {
#define GEN_PASS_DEF_WRAPDEVICEKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

/// Stands for the extent of a dimension that only the runtime knows; no kernel reads it.
static constexpr int64_t kUnknownExtent = int64_t(1) << 40;

namespace {
class WrapDeviceKernels : public sparse::impl::WrapDeviceKernelsPassBase<WrapDeviceKernels> {
public:
  void runOnOperation() override {
    auto modules = getOperation().getOps<gpu::GPUModuleOp>();
    if (modules.empty()) {
      getOperation().emitError("has no gpu.module for its kernels");
      return signalPassFailure();
    }
    device = *modules.begin();
    llvm::StringMap<plan::LaunchOp> launches;
    getOperation().walk([&](plan::LaunchOp launch) { launches[launch.getKernel()] = launch; });
    for (auto func : llvm::make_early_inc_range(getOperation().getOps<LLVM::LLVMFuncOp>()))
      if (func->hasAttr("plan.buffers"))
        if (plan::LaunchOp launch = launches.lookup(func.getSymName()))
          wrap(func, launch);
  }

private:
  void wrap(LLVM::LLVMFuncOp func, plan::LaunchOp launch);

  gpu::GPUModuleOp device;
};
} // namespace

/// The kernel builds the descriptors of its buffers and runs the body for the task of its thread.
void WrapDeviceKernels::wrap(LLVM::LLVMFuncOp func, plan::LaunchOp launch) {
  MLIRContext *context = &getContext();
  Location loc = func.getLoc();
  auto buffers = func->getAttrOfType<ArrayAttr>("plan.buffers");
  std::string name = func.getSymName().str();
  func->moveBefore(device.getBody(), device.getBody()->end());
  func.setSymName(name + ".body");
  func.setLinkage(LLVM::Linkage::Internal);
  func->removeAttr("plan.buffers");

  OpBuilder b = OpBuilder::atBlockEnd(device.getBody());
  auto global = LLVM::LLVMPointerType::get(context, device::kGlobal), generic = LLVM::LLVMPointerType::get(context);
  Type i64 = b.getI64Type(), i32 = b.getI32Type();
  SmallVector<Type> types(buffers.size(), global);
  auto kernel = LLVM::LLVMFuncOp::create(b, loc, name,
                                         LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), types));
  kernel->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  Block *entry = kernel.addEntryBlock(b), *run = b.createBlock(&kernel.getBody()), *end = b.createBlock(&kernel.getBody());
  b.setInsertionPointToStart(entry);
  auto constant = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(value));
  };
  Value thread = LLVM::SExtOp::create(b, loc, i64, NVVM::ThreadIdXOp::create(b, loc, i32));
  Value block = LLVM::SExtOp::create(b, loc, i64, NVVM::BlockIdXOp::create(b, loc, i32));
  Value first = LLVM::MulOp::create(b, loc, block, constant(launch.getGeometryAttr().getBlock()[0]));
  Value task = LLVM::AddOp::create(b, loc, first, thread);
  Value mine = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::slt, task, constant(launch.getGrid()));
  LLVM::CondBrOp::create(b, loc, mine, run, end);
  b.setInsertionPointToStart(run);
  SmallVector<Value> args;
  for (auto [index, attr] : llvm::enumerate(buffers.getAsValueRange<TypeAttr>())) {
    auto type = cast<MemRefType>(attr);
    Value base = LLVM::AddrSpaceCastOp::create(b, loc, generic, entry->getArgument(index));
    args.append({base, base, constant(0)});
    auto [strides, offset] = type.getStridesAndOffset();
    for (int64_t size : type.getShape())
      args.push_back(constant(ShapedType::isDynamic(size) ? kUnknownExtent : size));
    for (int64_t stride : strides)
      args.push_back(constant(stride));
  }
  args.push_back(task);
  LLVM::CallOp::create(b, loc, func, args);
  LLVM::BrOp::create(b, loc, end);
  b.setInsertionPointToStart(end);
  LLVM::ReturnOp::create(b, loc, ValueRange{});
}
