//===-- SampleMass.cpp - The arithmetic of sampling, as scalars ---------------------------------------------------===//
#include "passes/ToLinalg/SampleMass.h"

#include <cmath>
#include <limits>

using namespace sparse::lowering;

using Pred = arith::CmpIPredicate;
using PredF = arith::CmpFPredicate;

static constexpr int32_t kSign = std::numeric_limits<int32_t>::min();
/// Bits of a fraction of an exponent of two, and the least exponent of a mass.
static constexpr int64_t kFractionBits = 20, kLeastExponent = -41;

static Value constant(OpBuilder &b, Location loc, TypedAttr value) { return arith::ConstantOp::create(b, loc, value); }
static Value i32(OpBuilder &b, Location loc, int64_t v) { return constant(b, loc, b.getI32IntegerAttr(v)); }
static Value f32(OpBuilder &b, Location loc, double v) { return constant(b, loc, b.getF32FloatAttr(v)); }
Value SampleMass::i64(int64_t value) { return constant(b, loc, b.getI64IntegerAttr(value)); }

Value SampleMass::keyOf(Value logit) {
  Value bits = arith::BitcastOp::create(b, loc, b.getI32Type(), logit), sign = i32(b, loc, kSign);
  Value isMinusZero = arith::CmpIOp::create(b, loc, Pred::eq, bits, sign);
  bits = arith::SelectOp::create(b, loc, isMinusZero, i32(b, loc, 0), bits);
  Value negative = arith::CmpIOp::create(b, loc, Pred::slt, bits, i32(b, loc, 0));
  return arith::XOrIOp::create(b, loc, bits, arith::SelectOp::create(b, loc, negative, i32(b, loc, -1), sign));
}

Value SampleMass::logitOf(Value key) {
  Value positive = arith::CmpIOp::create(b, loc, Pred::slt, key, i32(b, loc, 0)); // the top bit is set
  Value flip = arith::SelectOp::create(b, loc, positive, i32(b, loc, kSign), i32(b, loc, -1));
  return arith::BitcastOp::create(b, loc, b.getF32Type(), arith::XOrIOp::create(b, loc, key, flip));
}

Value SampleMass::draws(Value temperature, Value best) {
  double infinity = std::numeric_limits<double>::infinity();
  Value warm = arith::CmpFOp::create(b, loc, PredF::OGT, temperature, f32(b, loc, 0));
  Value below = arith::CmpFOp::create(b, loc, PredF::OLT, best, f32(b, loc, infinity));
  Value above = arith::CmpFOp::create(b, loc, PredF::OGT, best, f32(b, loc, -infinity));
  return arith::AndIOp::create(b, loc, warm, arith::AndIOp::create(b, loc, below, above));
}

Value SampleMass::scaleOf(Value temperature) {
  Value inverse = arith::DivFOp::create(b, loc, f32(b, loc, 1), temperature);
  Value least = f32(b, loc, std::ldexp(1.0, -64)), most = f32(b, loc, std::ldexp(1.0, 64));
  Value isMore = arith::CmpFOp::create(b, loc, PredF::OGT, inverse, least);
  inverse = arith::SelectOp::create(b, loc, isMore, inverse, least);
  Value isLess = arith::CmpFOp::create(b, loc, PredF::OLT, inverse, most);
  inverse = arith::SelectOp::create(b, loc, isLess, inverse, most);
  return arith::MulFOp::create(b, loc, inverse, f32(b, loc, 1.44269504088896340736));
}

Value SampleMass::massOf(Value logit, Value best, Value scale) {
  auto i64Type = b.getI64Type();
  Value down = arith::MulFOp::create(b, loc, arith::SubFOp::create(b, loc, logit, best), scale);
  Value least = f32(b, loc, kLeastExponent);
  // No number compares as less: its mass is 0.
  Value isMore = arith::CmpFOp::create(b, loc, PredF::OGT, down, least);
  down = arith::SelectOp::create(b, loc, isMore, down, least);
  Value steps = arith::MulFOp::create(b, loc, down, f32(b, loc, -std::ldexp(1.0, kFractionBits)));
  Value q = arith::FPToSIOp::create(b, loc, b.getI32Type(), steps);
  Value n = arith::ExtUIOp::create(b, loc, i64Type, arith::ShRUIOp::create(b, loc, q, i32(b, loc, kFractionBits)));
  Value fraction = arith::AndIOp::create(b, loc, q, i32(b, loc, (1 << kFractionBits) - 1));
  fraction = arith::ExtUIOp::create(b, loc, i64Type, fraction);
  fraction = arith::ShLIOp::create(b, loc, fraction, i64(32 - kFractionBits));
  Value sum = i64(kExpTerms.back());
  auto next = [&](int64_t term) {
    Value product = arith::ShRUIOp::create(b, loc, arith::MulIOp::create(b, loc, fraction, sum), i64(32));
    sum = arith::SubIOp::create(b, loc, i64(term), product);
  };
  for (int64_t term : llvm::reverse(ArrayRef(kExpTerms).drop_back()))
    next(term);
  next(int64_t(1) << 31);
  return arith::ShRUIOp::create(b, loc, arith::ShLIOp::create(b, loc, sum, i64(9)), n);
}

/// mass * by / 2^bits without the bits that do not fit.
Value SampleMass::scaled(Value mass, Value by, int64_t bits) {
  Value shift = i64(bits), low = i64((int64_t(1) << bits) - 1);
  Value upper = arith::MulIOp::create(b, loc, arith::ShRUIOp::create(b, loc, mass, shift), by);
  Value lower = arith::MulIOp::create(b, loc, arith::AndIOp::create(b, loc, mass, low), by);
  return arith::AddIOp::create(b, loc, upper, arith::ShRUIOp::create(b, loc, lower, shift));
}

Value SampleMass::shareOf(Value mass, Value topP) {
  Value parts = arith::MulFOp::create(b, loc, topP, f32(b, loc, 1 << 24));
  Value share = scaled(mass, arith::FPToUIOp::create(b, loc, b.getI64Type(), parts), 24);
  return arith::MaxUIOp::create(b, loc, share, i64(1));
}

/// SplitMix64.
Value SampleMass::mix(Value value) {
  auto xorShift = [&](Value v, int64_t by) -> Value {
    return arith::XOrIOp::create(b, loc, v, arith::ShRUIOp::create(b, loc, v, i64(by)));
  };
  value = arith::AddIOp::create(b, loc, value, i64(static_cast<int64_t>(0x9e3779b97f4a7c15u)));
  value = arith::MulIOp::create(b, loc, xorShift(value, 30), i64(static_cast<int64_t>(0xbf58476d1ce4e5b9u)));
  value = arith::MulIOp::create(b, loc, xorShift(value, 27), i64(static_cast<int64_t>(0x94d049bb133111ebu)));
  return xorShift(value, 31);
}

Value SampleMass::pointIn(Value mass, Value seed, Value counter) {
  Value random = mix(arith::XOrIOp::create(b, loc, mix(seed), counter));
  return scaled(mass, arith::ShRUIOp::create(b, loc, random, i64(32)), 32);
}

Value SampleMass::tokensFor(Value need, Value each) {
  Value divisor = arith::MaxUIOp::create(b, loc, each, i64(1));
  Value more = arith::AddIOp::create(b, loc, need, arith::SubIOp::create(b, loc, divisor, i64(1)));
  return arith::DivUIOp::create(b, loc, more, divisor);
}
