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

/// Bytes of two registers side by side: digit i of `selector`, from the right, says which becomes byte i.
static Value permute(Device &d, Value low, Value high, int64_t selector) {
  return LLVM::CallIntrinsicOp::create(d.b, d.loc, d.b.getI32Type(), d.b.getStringAttr("llvm.nvvm.prmt"),
                                       ValueRange{low, high, d.i32(selector)})
      .getResult(0);
}

SmallVector<Value> sparse::device::unpackCodes(Device &d, Value word, Type code) {
  Type f16 = d.b.getF16Type();
  auto pair = VectorType::get({2}, f16);
  auto constant = [&](double value) -> Value {
    auto splat = DenseElementsAttr::get(pair, Attribute(d.b.getFloatAttr(f16, value)));
    return arith::ConstantOp::create(d.b, d.loc, splat);
  };
  SmallVector<Value> pairs;
  if (code.isInteger(8)) {
    // 0x64 above a byte u is the f16 1024 + u; u is the code + 128.
    Value biased = d.bitXor(word, d.i32(static_cast<int32_t>(0x80808080)));
    for (int64_t selector : {0x4140, 0x4342}) {
      Value halves = d.bitcast(permute(d, biased, d.i32(0x64646464), selector), pair);
      pairs.push_back(d.bitcast(d.subF(halves, constant(1152)), d.b.getI32Type()));
    }
    return pairs;
  }
  // E4M3 has one bit less of exponent than f16, whose bias is greater by 8.
  for (int64_t selector : {0x1404, 0x3424}) {
    Value upper = permute(d, word, d.i32(0), selector);
    Value sign = d.bitAnd(upper, d.i32(static_cast<int32_t>(0x80008000)));
    Value magnitude = d.shrU(d.bitAnd(upper, d.i32(0x7F007F00)), 1);
    Value halves = d.bitcast(d.bitOr(sign, magnitude), pair);
    pairs.push_back(d.bitcast(d.mulF(halves, constant(256)), d.b.getI32Type()));
  }
  return pairs;
}

Type sparse::device::productType(kvcache::LayoutAttr layout) {
  return layout.isQuantized() ? Type(Float16Type::get(layout.getContext())) : layout.getType();
}
