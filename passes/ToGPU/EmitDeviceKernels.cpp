//===-- EmitDeviceKernels.cpp - Kernels of a GPU from their templates ---------------------------------------------===//
#include "passes/ToGPU/DeviceKernel.h"

#include "llvm/ADT/TypeSwitch.h"

namespace sparse {
#define GEN_PASS_DEF_EMITDEVICEKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::device;

namespace {
class EmitDeviceKernels : public sparse::impl::EmitDeviceKernelsPassBase<EmitDeviceKernels> {
public:
  void runOnOperation() override {
    ModuleOp module = getOperation();
    target = module->getAttrOfType<sparsity::TargetAttr>("sparsity.target");
    if (!target) {
      module.emitError("has no sparsity.target");
      return signalPassFailure();
    }
    OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
    device = gpu::GPUModuleOp::create(b, module.getLoc(), "device");
    for (auto func : llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      auto config = func->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config");
      if (!func->hasAttr("plan.kernel"))
        continue;
      if (!config || config.getStrategy() == sparsity::Strategy::Reference)
        continue;
      if (failed(emit(func, config)))
        return signalPassFailure();
      func.erase();
    }
    module.walk([&](plan::LaunchOp launch) {
      auto found = geometry.find(launch.getKernel());
      launch.setGeometryAttr(found != geometry.end() ? found->second : referenceGeometry(launch.getGrid()));
    });
  }

private:
  LogicalResult emit(func::FuncOp func, sparsity::LoweringConfigAttr config);
  plan::GeometryAttr referenceGeometry(int64_t tasks);

  sparsity::TargetAttr target;
  gpu::GPUModuleOp device;
  llvm::StringMap<plan::GeometryAttr> geometry;
};
} // namespace

/// One thread per task, spread over the multiprocessors.
plan::GeometryAttr EmitDeviceKernels::referenceGeometry(int64_t tasks) {
  Builder b(&getContext());
  int64_t block = std::clamp<int64_t>(tasks / target.getMultiprocessors(), 1, kWarp);
  int64_t grid = llvm::divideCeil(tasks, block);
  return plan::GeometryAttr::get(&getContext(), b.getDenseI64ArrayAttr({grid, 1, 1}),
                                 b.getDenseI64ArrayAttr({block, 1, 1}), 1, 0, false);
}

LogicalResult EmitDeviceKernels::emit(func::FuncOp func, sparsity::LoweringConfigAttr config) {
  OpBuilder b = OpBuilder::atBlockEnd(device.getBody());
  Location loc = func.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(&getContext(), kGlobal);
  SmallVector<Type> types(func.getNumArguments() - 1, pointer); // the task index has no place on a GPU
  auto kernelFunc = gpu::GPUFuncOp::create(b, loc, func.getName(), b.getFunctionType(types, {}));
  kernelFunc->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  kernelFunc->setAttr("lowering_config", config);
  b.setInsertionPointToStart(&kernelFunc.getBody().front());

  bool dependent = target.getClusters();
  Device d(b, loc, device, dependent);
  DeviceKernel kernel(d, target, config);
  auto bufferOf = [&](Value memref) {
    unsigned index = cast<BlockArgument>(memref).getArgNumber();
    auto type = cast<MemRefType>(memref.getType());
    auto [strides, offset] = type.getStridesAndOffset();
    return Buffer{{kernelFunc.getArgument(index), type.getElementType()},
                  SmallVector<int64_t>(type.getShape()),
                  SmallVector<int64_t>(strides),
                  offset};
  };
  for (Operation &op : func.front().without_terminator())
    llvm::TypeSwitch<Operation *>(&op)
        .Case([&](bufferization::ToTensorOp op) { kernel.buffers[op.getResult()] = bufferOf(op.getBuffer()); })
        .Case([&](UnrealizedConversionCastOp op) {
          auto layout = cast<kvcache::LayerType>(op.getType(0)).getLayout();
          LayerBuffers layer{layout, {}};
          for (auto [component, value] : llvm::zip(layout.getComponents(), op.getInputs()))
            layer.components[component.name] = kernel.buffer(value);
          kernel.layers[op.getResult(0)] = layer;
        })
        .Case([&](tensor::ExtractSliceOp op) {
          Buffer buffer = kernel.buffer(op.getSource());
          buffer.shape = SmallVector<int64_t>(op.getType().getShape());
          for (auto [offset, stride] : llvm::zip(op.getStaticOffsets(), buffer.strides))
            buffer.offset += offset * stride;
          kernel.buffers[op.getResult()] = buffer;
        })
        .Case([&](bufferization::MaterializeInDestinationOp op) {
          kernel.results.push_back(bufferOf(op.getDest()));
        })
        .Case([](onnx::ConstantOp) {})
        .Default([&](Operation *op) { kernel.ops.push_back(op); });

  Operation *head = headOf(kernel.ops);
  const Template *found = findTemplate(head->getName().getStringRef(), config.getStrategy());
  if (!found)
    return func.emitError() << "has no template " << sparsity::stringifyStrategy(config.getStrategy()) << " for "
                            << head->getName();
  if (!found->waitsItself) {
    d.waitForLaunchBefore();
    d.allowNextLaunch();
  }
  if (failed(found->emit(kernel)))
    return failure();
  gpu::ReturnOp::create(b, loc);
  SmallVector<int32_t> block(kernel.block.begin(), kernel.block.end());
  kernelFunc.setKnownBlockSizeAttr(b.getDenseI32ArrayAttr(block));
  if (kernel.blocksOfProcessor > 0)
    kernelFunc->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(kernel.blocksOfProcessor));
  geometry[func.getName()] =
      plan::GeometryAttr::get(&getContext(), b.getDenseI64ArrayAttr(kernel.grid), b.getDenseI64ArrayAttr(kernel.block),
                              kernel.cluster, kernel.dynamicShared, dependent);
  return success();
}
