//===-- MergeParts.cpp - What steps and compactions share when they merge -----------------------------------------===//
#include "passes/ToLinalg/Merge.h"

using namespace sparse;
using namespace sparse::lowering;
using namespace sparse::lowering::merging;

using Iter = utils::IteratorType;
using Pred = arith::CmpIPredicate;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// A number in [0, 1) that seed, layer, head and position determine: Philox4x32-10 (J. Salmon et al., "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011) of the counter (position, head, layer, 0) under the key (seed, 0).
static Value uniform(Emitter &e, int64_t seed, int64_t layer, Value head, Value position) {
  auto word = [&](uint32_t value) { return e.i32(static_cast<int32_t>(value)); };
  auto exclusive = [&](Value a, Value c) -> Value { return arith::XOrIOp::create(e.b, e.loc, a, c); };
  uint32_t key[2] = {static_cast<uint32_t>(seed), 0};
  Value c[4] = {position, e.toI32(head), word(static_cast<uint32_t>(layer)), word(0)};
  for (int round = 0; round < 10; ++round) {
    auto first = arith::MulUIExtendedOp::create(e.b, e.loc, word(0xD2511F53), c[0]);
    auto second = arith::MulUIExtendedOp::create(e.b, e.loc, word(0xCD9E8D57), c[2]);
    Value next[4] = {exclusive(exclusive(second.getHigh(), c[1]), word(key[0])), second.getLow(),
                     exclusive(exclusive(first.getHigh(), c[3]), word(key[1])), first.getLow()};
    std::copy(next, next + 4, c);
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  // The upper 24 bits, exact in f32.
  Value bits = arith::ShRUIOp::create(e.b, e.loc, c[0], e.i32(8));
  Value number = arith::UIToFPOp::create(e.b, e.loc, e.b.getF32Type(), bits);
  return arith::MulFOp::create(e.b, e.loc, number, e.f32(0x1p-24));
}

Value merging::drawFor(Emitter &e, MergePolicyInterface policy, int64_t layer, Value head, Value position) {
  return policy.isRandom() ? uniform(e, policy.getSeed(), layer, head, position) : Value();
}

Value merging::norm(Emitter &e, Value squares) {
  Value root = math::SqrtOp::create(e.b, e.loc, squares);
  return arith::MaximumFOp::create(e.b, e.loc, root, e.f32(kLeastNorm));
}

Value merging::toFloat(Emitter &e, Value count) { return arith::SIToFPOp::create(e.b, e.loc, e.b.getF32Type(), count); }

Value merging::governs(Emitter &e, MergePolicyInterface policy, Value head) {
  if (Value governed = isGoverned(e, head, policy.getHeads()))
    return governed;
  return arith::ConstantOp::create(e.b, e.loc, e.b.getBoolAttr(true));
}

sparsity::MergeWeights merging::weightsOf(Emitter &e, LayerState &state, MergePolicyInterface policy, Value sequence,
                                          Value head, Value share, Value count) {
  Value threshold;
  if (StringRef field = policy.getThresholdField(); !field.empty())
    threshold = e.extract(state[field], {sequence, head});
  return policy.buildWeights(e.b, e.loc, share, threshold, count);
}

Value merging::blended(Emitter &e, Value old, Value added, Value part) {
  Value sum = arith::AddFOp::create(e.b, e.loc, e.toF32(old), added);
  return part ? Value(arith::DivFOp::create(e.b, e.loc, sum, arith::AddFOp::create(e.b, e.loc, e.f32(1), part))) : sum;
}

void merging::countMerge(Emitter &e, LayerState &state, MergePolicyInterface policy, Value sequence, Value head,
                         Value merged) {
  StringRef field = policy.getCounterField();
  if (field.empty())
    return;
  Value one = arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), merged);
  Value now = e.add(e.extract(state[field], {sequence, head}), one);
  state[field] = e.insert(now, state[field], {sequence, head});
}

Value merging::cosines(Emitter &e, Value rows, Value keys) {
  int64_t n = tensorType(rows).getDimSize(0), page = tensorType(keys).getDimSize(1);
  AffineMap all = e.map(2, {0, 1}), column = e.map(2, {1});
  Value dots = e.generic(
      {rows, keys}, e.filled({n, page}, e.f32(0)), {e.map(3, {0, 1}), e.map(3, {1, 2}), e.map(3, {0, 2})},
      {Iter::parallel, Iter::reduction, Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
        Value product = arith::MulFOp::create(b, loc, a[0], Emitter(b, loc).toF32(a[1]));
        return arith::AddFOp::create(b, loc, a[2], product);
      });
  Value squares = e.generic(keys, e.filled({page}, e.f32(0)), {all, column}, {Iter::reduction, Iter::parallel},
                            [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                              Value x = Emitter(b, loc).toF32(a[0]);
                              return arith::AddFOp::create(b, loc, a[1], arith::MulFOp::create(b, loc, x, x));
                            });
  return e.generic({dots, squares}, e.empty({n, page}, e.b.getF32Type()), {all, column, all},
                   {Iter::parallel, Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                     Emitter in(b, loc);
                     return arith::DivFOp::create(b, loc, a[0], norm(in, a[1]));
                   });
}

Value merging::keysOfPage(Emitter &e, LayerState &state, Value physical) {
  int64_t dim = state.layout.getKeyDim(), page = state.layout.getPage();
  return e.slice(state["key"], {physical, e.b.getIndexAttr(0), e.b.getIndexAttr(0)}, {1, dim, page}, {dim, page});
}

void merging::updateThreshold(Emitter &e, LayerState &state, MergePolicyInterface policy, Value sequence, Value sum,
                              Value count) {
  StringRef field = policy.getThresholdField();
  Value any = e.cmp(Pred::sgt, count, e.i32(0));
  state[field] = e.ifThen(any, state[field], [&]() -> SmallVector<Value> {
    Value mean = arith::DivFOp::create(e.b, e.loc, sum, toFloat(e, count));
    return e.loop(state.layout.getKvHeads(), state[field], [&](Value head, ValueRange carried) {
      Value old = e.extract(carried[0], {sequence, head});
      Value now = e.select(governs(e, policy, head), policy.buildThreshold(e.b, e.loc, old, mean), old);
      return SmallVector<Value>{e.insert(now, carried[0], {sequence, head})};
    });
  })[0];
}
