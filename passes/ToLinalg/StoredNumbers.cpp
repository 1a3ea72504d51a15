//===-- StoredNumbers.cpp - Numbers as memory has them ------------------------------------------------------------===//
#include "passes/ToLinalg/StoredNumbers.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace sparse;

/// The greatest codes; scales that are normal numbers of f16.
static constexpr double kMostInt8 = 127, kMostFloat8 = 448, kLeastScale = 0x1p-14, kMostScale = 65504;

namespace {
/// Operations on scalars or vectors of one shape.
struct Each {
  OpBuilder &b;
  Location loc;
  Type shape; // of the operands: a scalar type or a vector type

  Type typed(Type element) const {
    auto vector = dyn_cast<VectorType>(shape);
    return vector ? Type(VectorType::get(vector.getShape(), element)) : element;
  }
  Value constant(TypedAttr value) const {
    if (auto type = dyn_cast<VectorType>(typed(value.getType())))
      value = DenseElementsAttr::get(type, Attribute(value));
    return arith::ConstantOp::create(b, loc, value);
  }
  Value f32(double value) const { return constant(b.getF32FloatAttr(value)); }
  Value i32(int64_t value) const { return constant(b.getI32IntegerAttr(value)); }
  Value bits(Value f32) const { return arith::BitcastOp::create(b, loc, typed(b.getI32Type()), f32); }
  Value number(Value i32) const { return arith::BitcastOp::create(b, loc, typed(b.getF32Type()), i32); }
  Value clamped(Value x, double most) const {
    // What is no number becomes the least.
    Value atLeast = arith::MaxNumFOp::create(b, loc, x, f32(-most));
    return arith::MinNumFOp::create(b, loc, atLeast, f32(most));
  }
  /// Bits of an f32 without the lower `count` of the significand, rounded to nearest, ties to even.
  Value rounded(Value bits, int64_t count) const {
    Value odd = arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, bits, i32(count)), i32(1));
    Value half = arith::AddIOp::create(b, loc, odd, i32((int64_t(1) << (count - 1)) - 1));
    return arith::ShRUIOp::create(b, loc, arith::AddIOp::create(b, loc, bits, half), i32(count));
  }
};
} // namespace

/// Between E4M3 and f32 lie 20 bits of significand, and 120 of exponent: a product with a power of two, which also turns
/// subnormal numbers of one into normal ones of the other.
static constexpr int64_t kFloat8Bits = 20;

Value sparse::lowering::readStored(OpBuilder &b, Location loc, Value stored) {
  Each e{b, loc, stored.getType()};
  Type element = getElementTypeOrSelf(stored.getType()), f32 = e.typed(b.getF32Type());
  if (element.isF32())
    return stored;
  if (element.isInteger(8))
    return arith::SIToFPOp::create(b, loc, f32, stored);
  if (!isa<Float8E4M3FNType>(element))
    return arith::ExtFOp::create(b, loc, f32, stored);
  Value byte = arith::BitcastOp::create(b, loc, e.typed(b.getI8Type()), stored);
  Value wide = arith::ExtUIOp::create(b, loc, e.typed(b.getI32Type()), byte);
  Value magnitude = arith::ShLIOp::create(b, loc, arith::AndIOp::create(b, loc, wide, e.i32(0x7F)), e.i32(kFloat8Bits));
  Value sign = arith::ShLIOp::create(b, loc, arith::AndIOp::create(b, loc, wide, e.i32(0x80)), e.i32(24));
  return arith::MulFOp::create(b, loc, e.number(arith::OrIOp::create(b, loc, magnitude, sign)), e.f32(0x1p120));
}

Value sparse::lowering::writeStored(OpBuilder &b, Location loc, Value value, Type element) {
  Each e{b, loc, value.getType()};
  if (element.isF32())
    return value;
  if (element.isInteger(8)) {
    // 3 * 2^22: where f32 has no digits after the point.
    Value shifted = arith::AddFOp::create(b, loc, e.clamped(value, kMostInt8), e.f32(12582912.0));
    Value whole = arith::SubFOp::create(b, loc, shifted, e.f32(12582912.0));
    return arith::FPToSIOp::create(b, loc, e.typed(element), whole);
  }
  if (!isa<Float8E4M3FNType>(element))
    return arith::TruncFOp::create(b, loc, e.typed(element), value);
  Value bits = e.bits(arith::MulFOp::create(b, loc, e.clamped(value, kMostFloat8), e.f32(0x1p-120)));
  Value magnitude = e.rounded(arith::AndIOp::create(b, loc, bits, e.i32(0x7FFFFFFF)), kFloat8Bits);
  Value sign = arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, bits, e.i32(24)), e.i32(0x80));
  Value byte = arith::TruncIOp::create(b, loc, e.typed(b.getI8Type()), arith::OrIOp::create(b, loc, magnitude, sign));
  return arith::BitcastOp::create(b, loc, e.typed(element), byte);
}

/// Bits of significand, and the difference of exponents, between f16 and f32.
static constexpr int64_t kHalfBits = 13, kHalfExponent = int64_t(112) << 23;

Value sparse::lowering::scaleFor(OpBuilder &b, Location loc, Value largest, Type code) {
  Each e{b, loc, largest.getType()};
  Value scale = arith::DivFOp::create(b, loc, largest, e.f32(code.isInteger(8) ? kMostInt8 : kMostFloat8));
  scale = arith::MaxNumFOp::create(b, loc, scale, e.f32(kLeastScale));
  scale = arith::MinNumFOp::create(b, loc, scale, e.f32(kMostScale));
  return e.number(arith::ShLIOp::create(b, loc, e.rounded(e.bits(scale), kHalfBits), e.i32(kHalfBits)));
}

Value sparse::lowering::writeScale(OpBuilder &b, Location loc, Value scale) {
  Each e{b, loc, scale.getType()};
  Value bits = arith::SubIOp::create(b, loc, e.bits(scale), e.i32(kHalfExponent));
  bits = arith::TruncIOp::create(b, loc, e.typed(b.getI16Type()), arith::ShRUIOp::create(b, loc, bits, e.i32(kHalfBits)));
  return arith::BitcastOp::create(b, loc, e.typed(b.getF16Type()), bits);
}

Value sparse::lowering::readScale(OpBuilder &b, Location loc, Value stored) {
  Each e{b, loc, stored.getType()};
  Value bits = arith::BitcastOp::create(b, loc, e.typed(b.getI16Type()), stored);
  bits = arith::ExtUIOp::create(b, loc, e.typed(b.getI32Type()), bits);
  bits = arith::ShLIOp::create(b, loc, bits, e.i32(kHalfBits));
  return e.number(arith::AddIOp::create(b, loc, bits, e.i32(kHalfExponent)));
}
