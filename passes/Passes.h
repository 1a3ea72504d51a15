//===-- Passes.h - Passes and pipelines of the road ------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_PASSES_H
#define SPARSE_PASSES_PASSES_H

#include "dialects/KVCache/KVCache.h"
#include "dialects/ONNX/ONNX.h"
#include "dialects/Plan/Plan.h"
#include "dialects/Sparsity/Sparsity.h"
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
#include "mlir/Pass/Pass.h"

namespace sparse {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"
} // namespace sparse

#endif
