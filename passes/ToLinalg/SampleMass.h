//===-- SampleMass.h - The arithmetic of sampling, as scalars --------------------------------------------*- C++ -*-===//
//
// What `sparsity.sample` says about orders, masses and draws, for its reference lowering and for its GPU template: the same
// ops, so the same bits. Masses are unsigned i64, keys i32 in unsigned order. The runtime has the same numbers in
// `runtime/Sampler.cpp`.
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOLINALG_SAMPLEMASS_H
#define SPARSE_PASSES_TOLINALG_SAMPLEMASS_H

#include "passes/Passes.h"

#include <array>

namespace sparse::lowering {
using namespace mlir; // as Loops.h

/// e(f) = 2^31 - f (c1 - f (c2 - f (c3 - f (c4 - f c5)))) with f in 2^-32: 2^(31 - f) within 9e-8 of it, falling.
inline constexpr std::array<int64_t, 5> kExpTerms = {1488514807, 515782928, 118750169, 19769297, 2029164};

class SampleMass {
public:
  SampleMass(OpBuilder &b, Location loc) : b(b), loc(loc) {}

  Value i64(int64_t value);
  /// A logit in unsigned integer order, -0 as 0; more than 0 for every number. And the logit of a key.
  Value keyOf(Value logit);
  Value logitOf(Value key);
  /// Whether a row draws: a temperature above 0, and a best logit that is finite.
  Value draws(Value temperature, Value best);
  Value scaleOf(Value temperature);
  /// 0 for a logit that is no number.
  Value massOf(Value logit, Value best, Value scale);
  /// The least mass that `top_p` keeps of `mass`.
  Value shareOf(Value mass, Value topP);
  /// Where in [0, mass) the draw of a seed and a counter falls.
  Value pointIn(Value mass, Value seed, Value counter);
  /// How many of equal tokens of mass `each` it takes to reach `need`.
  Value tokensFor(Value need, Value each);

private:
  Value mix(Value value);
  Value scaled(Value mass, Value by, int64_t bits);

  OpBuilder &b;
  Location loc;
};

} // namespace sparse::lowering

#endif
