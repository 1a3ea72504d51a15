//===-- Registration.cpp - Dialects and passes of the road --------------------------------------------------------===//
#include "dialects/KVCache/KVCache.h"
#include "dialects/ONNX/ONNX.h"
#include "dialects/Plan/Plan.h"
#include "dialects/Sparsity/Sparsity.h"
#include "lib/Driver/Driver.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/Passes.h"

void sparse::driver::registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::arith::ArithDialect, mlir::bufferization::BufferizationDialect, mlir::func::FuncDialect,
                  mlir::LLVM::LLVMDialect, mlir::linalg::LinalgDialect, mlir::math::MathDialect,
                  mlir::memref::MemRefDialect, mlir::scf::SCFDialect, mlir::tensor::TensorDialect,
                  mlir::vector::VectorDialect, onnx::ONNXDialect, kvcache::KVCacheDialect, sparsity::SparsityDialect, plan::PlanDialect>();
}

void sparse::driver::registerPasses() {
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  registerSparsePasses();
  registerPipelines();
}
