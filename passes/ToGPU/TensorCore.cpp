//===-- TensorCore.cpp - Products of fragments by a warp ----------------------------------------------------------===//
#include "passes/ToGPU/TensorCore.h"

using namespace sparse::device;

SmallVector<Value> sparse::device::multiply(Device &d, ValueRange a, ValueRange b, ValueRange c, Type element) {
  Type f32 = d.b.getF32Type();
  auto result = LLVM::LLVMStructType::getLiteral(d.b.getContext(), {f32, f32, f32, f32});
  NVVM::MMATypes type = element.isBF16() ? NVVM::MMATypes::bf16 : NVVM::MMATypes::f16;
  SmallVector<Value> left(a), right(b);
  if (element.isF16()) {
    // Fragments of f16 are vectors of two.
    auto pair = VectorType::get({2}, element);
    for (Value &value : left)
      value = d.bitcast(value, pair);
    for (Value &value : right)
      value = d.bitcast(value, pair);
  }
  Value out = NVVM::MmaOp::create(
      d.b, d.loc, result, left, right, c, ArrayRef<int64_t>{16, 8, 16}, std::nullopt, std::nullopt,
      std::array<NVVM::MMATypes, 2>{type, type},
      std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row, NVVM::MMALayout::col});
  SmallVector<Value> sums;
  for (int64_t i = 0; i < 4; ++i)
    sums.push_back(LLVM::ExtractValueOp::create(d.b, d.loc, out, i));
  return sums;
}

SmallVector<Value> sparse::device::loadMatrices(Device &d, Value pointer, int64_t count, bool transposed) {
  MLIRContext *context = d.b.getContext();
  Type i32 = d.b.getI32Type();
  Type result = count == 1 ? i32
                           : Type(LLVM::LLVMStructType::getLiteral(context, SmallVector<Type>(count, i32)));
  Value loaded = NVVM::LdMatrixOp::create(
      d.b, d.loc, result, pointer, d.b.getI32IntegerAttr(count),
      NVVM::MMALayoutAttr::get(context, transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row),
      NVVM::LdStMatrixShapeAttr::get(context, 8, 8),
      NVVM::LdStMatrixEltTypeAttr::get(context, NVVM::LdStMatrixEltType::B16));
  if (count == 1)
    return {loaded};
  SmallVector<Value> registers;
  for (int64_t i = 0; i < count; ++i)
    registers.push_back(LLVM::ExtractValueOp::create(d.b, d.loc, loaded, i));
  return registers;
}

Value sparse::device::pack(Device &d, Value low, Value high, Type element) {
  Value both = vector::FromElementsOp::create(d.b, d.loc, VectorType::get({2}, d.b.getF32Type()), ValueRange{low, high});
  return d.bitcast(d.fromF32(both, element), d.b.getI32Type());
}
