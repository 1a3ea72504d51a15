//===-- Select.cpp - Scores of pages, and the best of them --------------------------------------------------------===//
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::lowering;

using Iter = utils::IteratorType;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

void sparse::lowering::lowerScore(Emitter &e, KernelContext &k, sparsity::ScoreOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  auto policy = cast<sparsity::SelectionPolicyInterface>(op.getPolicy());
  Value query = k[op.getQuery()], sequences = k[op.getSequences()];
  int64_t rows = tensorType(query).getDimSize(0), dim = layout.getKeyDim();
  int64_t heads = tensorType(query).getDimSize(1) / dim;
  ArrayRef<int64_t> shape = cast<RankedTensorType>(op.getScores().getType()).getShape();
  int64_t selecting = shape[1], pages = shape[2], groups = heads / selecting;
  Type f32 = e.b.getF32Type();
  double lowest = -std::numeric_limits<double>::infinity();

  SmallVector<Value> result = e.parallel(
      {rows, selecting}, e.empty({rows, selecting, pages}, f32), [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value sequence = e.toIndex(e.extract(sequences, ivs[0]));
        Value kvHead = e.div(ivs[1], selecting / layout.getKvHeads());
        Value raw = e.slice(query, {ivs[0], e.mul(ivs[1], e.index(groups * dim))}, {1, groups * dim}, {groups * dim});
        Value q = tensor::ExpandShapeOp::create(e.b, e.loc, RankedTensorType::get({groups, dim}, f32), raw,
                                                ArrayRef<ReassociationIndices>{{0, 1}});
        Value extent = e.toIndex(e.extract(state["count"], {sequence, kvHead}));
        Value used = e.ceilDiv(extent, layout.getPage());
        Value scores = e.filled({pages}, e.f32(lowest));
        scores = e.loop(e.index(0), used, scores, [&](Value page, ValueRange carried) {
          SmallVector<Value> inputs{q};
          SmallVector<AffineMap> maps{e.map(2, {0, 1})};
          for (StringRef field : policy.getScoreFields()) {
            inputs.push_back(
                e.slice(state[field], {sequence, kvHead, page, e.b.getIndexAttr(0)}, {1, 1, 1, dim}, {dim}));
            maps.push_back(e.map(2, {1}));
          }
          maps.push_back(e.map(2, {0}));
          Value perHead = e.generic(inputs, e.filled({groups}, e.f32(0)), maps, {Iter::parallel, Iter::reduction},
                                    [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                      SmallVector<Value> fields;
                                      for (Value field : a.drop_front().drop_back())
                                        fields.push_back(Emitter(b, loc).toF32(field));
                                      Value term = policy.buildScoreTerm(b, loc, a[0], fields);
                                      return arith::AddFOp::create(b, loc, a.back(), term);
                                    });
          bool isSum = policy.isGroupSum();
          Value reduced = e.generic(perHead, e.filled({}, e.f32(isSum ? 0 : lowest)), {e.map(1, {0}), e.map(1, {})},
                                    {Iter::reduction}, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                      if (isSum)
                                        return arith::AddFOp::create(b, loc, a[1], a[0]);
                                      return arith::MaximumFOp::create(b, loc, a[1], a[0]);
                                    });
          return SmallVector<Value>{e.insert(e.extract(reduced, {}), carried[0], page)};
        })[0];
        return {{scores, {ivs[0], ivs[1], e.b.getIndexAttr(0)}, {1, 1, pages}}};
      });
  k.set(op.getScores(), result[0]);
}

void sparse::lowering::lowerSelect(Emitter &e, KernelContext &k, sparsity::SelectOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  auto policy = cast<sparsity::SelectionPolicyInterface>(op.getPolicy());
  Value scores = k[op.getScores()], sequences = k[op.getSequences()];
  ArrayRef<int64_t> shape = tensorType(scores).getShape();
  int64_t rows = shape[0], selecting = shape[1], pages = shape[2];
  int64_t budget = cast<RankedTensorType>(op.getIndices().getType()).getDimSize(2);
  Type i32 = e.b.getI32Type();
  constexpr int32_t kForced = std::numeric_limits<int32_t>::max(), kUnused = std::numeric_limits<int32_t>::min();

  SmallVector<Value> outputs{e.empty({rows, selecting, budget}, i32), e.empty({rows, selecting}, i32)};
  SmallVector<Value> results = e.parallel({rows, selecting}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value sequence = e.toIndex(e.extract(sequences, ivs[0]));
    Value kvHead = e.div(ivs[1], selecting / layout.getKvHeads());
    // The append before has taken the victim's slot: every slot holds a token.
    Value live = e.extract(state["count"], {sequence, kvHead});
    Value used = e.ceilDiv(e.toIndex(live), layout.getPage());
    // The page that holds the current token: the last one, or with reused slots that of the newest slot.
    Value current = layout.getSlotted()
                        ? e.div(e.toIndex(e.extract(state["tail"], {sequence, kvHead})), layout.getPage())
                        : e.sub(used, e.index(1));
    Value grown = policy.buildPageBudget(e.b, e.loc, live);
    Value kept = e.min(used, grown ? e.toIndex(grown) : e.index(budget));

    // Keys: the scores in integer order, forced pages above and unused ones below all.
    Value row = e.slice(scores, {ivs[0], ivs[1], e.b.getIndexAttr(0)}, {1, 1, pages}, {pages});
    Value keys = e.generic(row, e.empty({pages}, i32), {e.map(1, {0}), e.map(1, {0})}, {Iter::parallel},
                           [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                             Emitter in(b, loc);
                             Value page = linalg::IndexOp::create(b, loc, 0);
                             Value forced = in.cmp(arith::CmpIPredicate::eq, page, current);
                             if (policy.getSinkPages() > 0)
                               forced = in.either(forced, in.cmp(arith::CmpIPredicate::ult, page,
                                                                 in.index(policy.getSinkPages())));
                             Value key = in.select(forced, in.i32(kForced), in.ordered(a[0]));
                             Value isUsed = in.cmp(arith::CmpIPredicate::ult, page, used);
                             return in.select(isUsed, key, in.i32(kUnused));
                           });
    // Greatest threshold with at least `kept` keys at or above it, found bit by bit from the top. Ties above it fit all;
    // ties at it go to the lower index.
    auto countAtLeast = [&](Value threshold) {
      Value total = e.generic(keys, e.filled({}, e.i32(0)), {e.map(1, {0}), e.map(1, {})}, {Iter::reduction},
                              [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                Value reached = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, a[0], threshold);
                                Value one = arith::ExtUIOp::create(b, loc, b.getI32Type(), reached);
                                return arith::AddIOp::create(b, loc, a[1], one);
                              });
      return e.extract(total, {});
    };
    Value keptI32 = e.toI32(kept);
    Value threshold = e.loop(32, e.i32(kUnused), [&](Value step, ValueRange carried) {
      Value shift = e.sub(e.i32(31), e.toI32(step));
      Value bit = arith::ShLIOp::create(e.b, e.loc, e.i32(1), shift);
      // Adding the top bit to the least integer gives 0, so the search runs over the unsigned order.
      Value candidate = e.add(carried[0], bit);
      Value enough = e.cmp(arith::CmpIPredicate::sge, countAtLeast(candidate), keptI32);
      return SmallVector<Value>{e.select(enough, candidate, carried[0])};
    })[0];
    Value above = e.generic(keys, e.filled({}, e.i32(0)), {e.map(1, {0}), e.map(1, {})}, {Iter::reduction},
                            [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                              Value over = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sgt, a[0], threshold);
                              Value one = arith::ExtUIOp::create(b, loc, b.getI32Type(), over);
                              return arith::AddIOp::create(b, loc, a[1], one);
                            });
    Value ties = e.sub(keptI32, e.extract(above, {}));
    Value list = e.filled({budget}, e.i32(0));
    list = e.loop(e.index(0), used, {list, e.index(0), ties}, [&](Value page, ValueRange carried) {
      Value key = e.extract(keys, page);
      Value over = e.cmp(arith::CmpIPredicate::sgt, key, threshold);
      Value tie = e.both(e.cmp(arith::CmpIPredicate::eq, key, threshold),
                         e.cmp(arith::CmpIPredicate::sgt, carried[2], e.i32(0)));
      return e.ifThen(e.either(over, tie), carried, [&]() -> SmallVector<Value> {
        Value left = e.sub(carried[2], arith::ExtUIOp::create(e.b, e.loc, i32, tie));
        return {e.insert(e.toI32(page), carried[0], carried[1]), e.add(carried[1], e.index(1)), left};
      });
    })[0];
    Value counted = e.filled({1, 1}, keptI32);
    return {{list, {ivs[0], ivs[1], e.b.getIndexAttr(0)}, {1, 1, budget}}, {counted, {ivs[0], ivs[1]}, {1, 1}}};
  });
  k.set(op.getIndices(), results[0]);
  k.set(op.getCount(), results[1]);
}
