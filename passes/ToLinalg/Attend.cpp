//===-- Attend.cpp - Attention over pages, and the mass that slots receive ----------------------------------------===//
//
// A task is one selecting head and a tile of rows. It walks the ascending list of pages (all pages of the head, or the
// selected ones), takes the page as a tile, and folds it in by online softmax. The list alone decides what is computed in
// which order: a selection that names every page gives the bits of the dense form.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToLinalg/Lowering.h"
#include "passes/ToLinalg/StoredNumbers.h"

using namespace sparse;
using namespace sparse::lowering;

using Iter = utils::IteratorType;

namespace {

/// Score of a slot that a row may not see. Finite, so that differences of scores are never NaN.
constexpr double kHidden = -1e30;

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// What attend and mass have in common: a tile of query rows of one selecting head against the pages of its cache.
struct QueryTile {
  Emitter &e;
  LayerState &state;
  int64_t rows, heads, groups; // rows of the tile; query heads in all; query heads of one selecting head
  double scale, softcap;
  int64_t window;
  Value query, positions; // entry tensors
  Value head, kvHead, sequence;

  Value scaled;     // f32 [rows * groups, dk]
  Value rowPositions; // i32 [rows]

  int64_t dim() { return state.layout.getKeyDim(); }
  int64_t page() { return state.layout.getPage(); }
  int64_t queries() { return rows * groups; }

  void load(Value firstRow);
  Value physicalPage(Value logical);
  Value keyPositions(Value logical, Value physical);
  /// f16 [page]: the scales of the page's slots in a pool of codes.
  Value scales(StringRef pool, Value logical);
  /// f32 [queries, page]: scores of the page's slots, kHidden where the row may not see the slot or is not active.
  Value scores(Value logical, Value physical, Value rowActive);
  Value valueTile(Value physical);
};

} // namespace

void QueryTile::load(Value firstRow) {
  OpBuilder &b = e.b;
  Type f32 = b.getF32Type();
  Value column = e.mul(head, e.index(groups * dim()));
  Value raw = e.slice(query, {firstRow, column}, {rows, groups * dim()}, {rows, groups * dim()});
  Value flat = e.generic(raw, e.empty({rows, groups * dim()}, f32), {e.map(2, {0, 1}), e.map(2, {0, 1})},
                         {Iter::parallel, Iter::parallel}, [&](OpBuilder &ib, Location loc, ValueRange a) -> Value {
                           Value factor = arith::ConstantOp::create(ib, loc, ib.getF32FloatAttr(scale));
                           return arith::MulFOp::create(ib, loc, a[0], factor);
                         });
  Value expanded = tensor::ExpandShapeOp::create(b, e.loc, RankedTensorType::get({rows, groups, dim()}, f32), flat,
                                                 ArrayRef<ReassociationIndices>{{0}, {1, 2}});
  scaled = tensor::CollapseShapeOp::create(b, e.loc, RankedTensorType::get({queries(), dim()}, f32), expanded,
                                           ArrayRef<ReassociationIndices>{{0, 1}, {2}});
  rowPositions = e.slice(positions, {firstRow}, {rows}, {rows});
}

Value QueryTile::physicalPage(Value logical) { return e.toIndex(e.extract(state["table"], {sequence, kvHead, logical})); }

/// i32 [page]: positions of the page's slots, -1 for free ones.
Value QueryTile::keyPositions(Value logical, Value) {
  Value firstSlot = e.mul(logical, e.index(page()));
  if (state.layout.getSlotted())
    return e.slice(state["position"], {sequence, kvHead, firstSlot}, {1, 1, page()}, {page()});
  return e.generic({}, e.empty({page()}, e.b.getI32Type()), {e.map(1, {0})}, {Iter::parallel},
                   [&](OpBuilder &b, Location loc, ValueRange) -> Value {
                     Emitter in(b, loc);
                     return in.toI32(in.add(firstSlot, linalg::IndexOp::create(b, loc, 0)));
                   });
}

Value QueryTile::scales(StringRef pool, Value logical) {
  return e.slice(state[scaleOfPool(pool)], {sequence, kvHead, e.mul(logical, e.index(page()))}, {1, 1, page()},
                 {page()});
}

Value QueryTile::scores(Value logical, Value physical, Value rowActive) {
  OpBuilder &b = e.b;
  Type f32 = b.getF32Type();
  Value keys = e.slice(state["key"], {physical, b.getIndexAttr(0), b.getIndexAttr(0)}, {1, dim(), page()},
                       {dim(), page()});
  Value raw = e.generic({scaled, keys}, e.filled({queries(), page()}, e.f32(0)),
                        {e.map(3, {0, 1}), e.map(3, {1, 2}), e.map(3, {0, 2})},
                        {Iter::parallel, Iter::reduction, Iter::parallel},
                        [](OpBuilder &ib, Location loc, ValueRange a) -> Value {
                          Value product = arith::MulFOp::create(ib, loc, a[0], Emitter(ib, loc).toF32(a[1]));
                          return arith::AddFOp::create(ib, loc, a[2], product);
                        });
  // Visible: a live slot, not in the future, within the model's window and the policies' view.
  Value slots = keyPositions(logical, physical);
  SmallVector<Value> inputs{rowPositions, slots};
  SmallVector<AffineMap> maps{e.map(2, {0}), e.map(2, {1})};
  if (rowActive) {
    inputs.push_back(rowActive);
    maps.push_back(e.map(2, {0}));
  }
  maps.push_back(e.map(2, {0, 1}));
  Value bias = e.generic(inputs, e.empty({rows, page()}, f32), maps, {Iter::parallel, Iter::parallel},
                         [&](OpBuilder &ib, Location loc, ValueRange a) -> Value {
                           Emitter in(ib, loc);
                           Value visible = in.both(in.cmp(arith::CmpIPredicate::sge, a[1], in.i32(0)),
                                                   in.cmp(arith::CmpIPredicate::sle, a[1], a[0]));
                           if (window >= 0)
                             visible = in.both(visible, in.cmp(arith::CmpIPredicate::sle, in.sub(a[0], a[1]),
                                                               in.i32(window)));
                           if (rowActive)
                             visible = in.both(visible, in.cmp(arith::CmpIPredicate::ne, a[2], in.i32(0)));
                           if (Value policy = isVisible(in, state.layout, kvHead, a[0], a[1]))
                             visible = in.both(visible, policy);
                           return in.select(visible, in.f32(0), in.f32(kHidden));
                         });
  Value cube = tensor::ExpandShapeOp::create(b, e.loc, RankedTensorType::get({rows, groups, page()}, f32), raw,
                                             ArrayRef<ReassociationIndices>{{0, 1}, {2}});
  SmallVector<Value> scored{cube, bias};
  SmallVector<AffineMap> cubeMaps{e.map(3, {0, 1, 2}), e.map(3, {0, 2})};
  if (state.layout.isQuantized()) {
    scored.push_back(scales("key", logical));
    cubeMaps.push_back(e.map(3, {2}));
  }
  cubeMaps.push_back(e.map(3, {0, 1, 2}));
  Value masked = e.generic(scored, e.empty({rows, groups, page()}, f32), cubeMaps,
                           {Iter::parallel, Iter::parallel, Iter::parallel},
                           [&](OpBuilder &ib, Location loc, ValueRange a) -> Value {
                             Emitter in(ib, loc);
                             Value score = a[0];
                             if (state.layout.isQuantized())
                               score = arith::MulFOp::create(ib, loc, score, readScale(ib, loc, a[2]));
                             if (softcap != 0) {
                               Value ratio = arith::DivFOp::create(ib, loc, score, in.f32(softcap));
                               score = arith::MulFOp::create(ib, loc, math::TanhOp::create(ib, loc, ratio),
                                                             in.f32(softcap));
                             }
                             Value hidden = arith::CmpFOp::create(ib, loc, arith::CmpFPredicate::OLT, a[1],
                                                                  in.f32(kHiddenBelow));
                             return in.select(hidden, in.f32(kHidden), score);
                           });
  return tensor::CollapseShapeOp::create(b, e.loc, RankedTensorType::get({queries(), page()}, f32), masked,
                                         ArrayRef<ReassociationIndices>{{0, 1}, {2}});
}

Value QueryTile::valueTile(Value physical) {
  int64_t width = state.layout.getValueDim();
  return e.slice(state["value"], {physical, e.b.getIndexAttr(0), e.b.getIndexAttr(0)}, {1, page(), width},
                 {page(), width});
}

/// exp(score - reference) of a tile [n, m] with one reference per row; 0 for hidden scores.
static Value weights(Emitter &e, Value scores, Value reference) {
  RankedTensorType type = tensorType(scores);
  return e.generic({scores, reference}, e.empty(type.getShape(), type.getElementType()),
                   {e.map(2, {0, 1}), e.map(2, {0}), e.map(2, {0, 1})}, {Iter::parallel, Iter::parallel},
                   [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                     Emitter in(b, loc);
                     Value exp = math::ExpOp::create(b, loc, arith::SubFOp::create(b, loc, a[0], a[1]));
                     Value hidden =
                         arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, a[0], in.f32(kHiddenBelow));
                     return in.select(hidden, in.f32(0), exp);
                   });
}

/// The pages a task visits: how many, and the i-th. Dense: all in use, for an ordered cache no further than the last
/// position of the tile.
static Value pageCount(QueryTile &t, Value row, Value selecting, Value count) {
  Emitter &e = t.e;
  if (count)
    return e.toIndex(e.extract(count, {row, selecting}));
  Value extent = e.toIndex(e.extract(t.state["count"], {t.sequence, t.kvHead}));
  Value pages = e.ceilDiv(extent, t.page());
  if (t.state.layout.getSlotted())
    return pages;
  Value last = e.i32(0); // newest position of the tile; padding rows may hold anything
  for (int64_t r = 0; r < t.rows; ++r)
    last = arith::MaxSIOp::create(e.b, e.loc, last, e.extract(t.positions, e.add(row, e.index(r))));
  return e.min(pages, e.add(e.div(e.toIndex(last), t.page()), e.index(1)));
}

static Value pageAt(QueryTile &t, Value row, Value selecting, Value indices, Value i) {
  return indices ? t.e.toIndex(t.e.extract(indices, {row, selecting, i})) : i;
}

/// Rows of one task: the lowering config's, in prefill only; decode rows belong to different sequences.
static int64_t tileRows(KernelContext &k, bool prefill, int64_t rows) {
  int64_t tile = prefill && !k.tiles.empty() ? k.tiles[0] : 1;
  return rows % tile == 0 ? tile : 1;
}

/// Whether attention leaves its scores as [slots, queries], where keys lie slot by slot, or as [queries, slots].
static bool scoresBySlot(kvcache::LayoutAttr layout) { return layout.getKeysBySlot(); }

/// A tile of scores with its dimensions exchanged.
static Value transposed(Emitter &e, Value tile) {
  RankedTensorType type = tensorType(tile);
  return e.generic(tile, e.empty({type.getDimSize(1), type.getDimSize(0)}, type.getElementType()),
                   {e.map(2, {1, 0}), e.map(2, {0, 1})}, {Iter::parallel, Iter::parallel},
                   [](OpBuilder &, Location, ValueRange a) -> Value { return a[0]; });
}

/// The scores [n, page] of a page into `kept`, from its slot `slot` on.
static Value keep(QueryTile &t, Value scores, Value kept, Value slot) {
  Emitter &e = t.e;
  OpFoldResult zero = e.b.getIndexAttr(0);
  if (scoresBySlot(t.state.layout))
    return e.insertSlice(transposed(e, scores), kept, {slot, zero}, {t.page(), t.queries()});
  return e.insertSlice(scores, kept, {zero, slot}, {t.queries(), t.page()});
}

/// Folds pages [first, last) of the list into { largest score [n], sum of weights [n], weighted values [n, dv] }. `kept`
/// (f32, the shape of a segment's scores, or null) gets the scores, as a fourth.
static SmallVector<Value> foldPages(QueryTile &t, Value row, Value indices, Value first, Value last, Value kept = {}) {
  Emitter &e = t.e;
  Type f32 = e.b.getF32Type();
  int64_t n = t.queries(), width = t.state.layout.getValueDim();
  SmallVector<Value> init{e.filled({n}, e.f32(kHidden)), e.filled({n}, e.f32(0)),
                          e.filled({n, width}, e.f32(0))};
  if (kept)
    init.push_back(kept);
  return e.loop(first, last, init, [&](Value i, ValueRange carried) {
    Value logical = pageAt(t, row, t.head, indices, i);
    Value physical = t.physicalPage(logical);
    Value scores = t.scores(logical, physical, {});
    AffineMap all = e.map(2, {0, 1}), byRow = e.map(2, {0});
    // The carried tensors are only written by the last op on each, so that they stay in place.
    Value pageTop = e.generic(scores, e.filled({n}, e.f32(kHidden)), {all, byRow},
                              {Iter::parallel, Iter::reduction},
                              [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                return arith::MaximumFOp::create(b, loc, a[1], a[0]);
                              });
    AffineMap rowOnly = e.map(1, {0});
    Value top = e.generic({carried[0], pageTop}, e.empty({n}, f32), {rowOnly, rowOnly, rowOnly},
                          {Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                            return arith::MaximumFOp::create(b, loc, a[0], a[1]);
                          });
    Value correction = e.generic({carried[0], top}, e.empty({n}, f32), {rowOnly, rowOnly, rowOnly},
                                 {Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                   return math::ExpOp::create(b, loc, arith::SubFOp::create(b, loc, a[0], a[1]));
                                 });
    Value p = weights(e, scores, top);
    Value pageSum = e.generic(p, e.filled({n}, e.f32(0)), {all, byRow}, {Iter::parallel, Iter::reduction},
                              [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                return arith::AddFOp::create(b, loc, a[1], a[0]);
                              });
    Value sum = e.generic({correction, pageSum}, carried[1], {rowOnly, rowOnly, rowOnly}, {Iter::parallel},
                          [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                            return arith::AddFOp::create(b, loc, arith::MulFOp::create(b, loc, a[2], a[0]), a[1]);
                          });
    Value scaledOut = e.generic(correction, carried[2], {byRow, all}, {Iter::parallel, Iter::parallel},
                                [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                  return arith::MulFOp::create(b, loc, a[1], a[0]);
                                });
    if (t.state.layout.isQuantized())
      p = e.generic({p, t.scales("value", logical)}, e.empty(tensorType(p).getShape(), f32),
                    {all, e.map(2, {1}), all}, {Iter::parallel, Iter::parallel},
                    [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                      return arith::MulFOp::create(b, loc, a[0], readScale(b, loc, a[1]));
                    });
    Value out = e.generic({p, t.valueTile(physical)}, scaledOut,
                          {e.map(3, {0, 1}), e.map(3, {1, 2}), e.map(3, {0, 2})},
                          {Iter::parallel, Iter::reduction, Iter::parallel},
                          [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                            Value product = arith::MulFOp::create(b, loc, a[0], Emitter(b, loc).toF32(a[1]));
                            return arith::AddFOp::create(b, loc, a[2], product);
                          });
    Value newTop = e.generic(pageTop, carried[0], {rowOnly, rowOnly}, {Iter::parallel},
                             [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                               return arith::MaximumFOp::create(b, loc, a[1], a[0]);
                             });
    SmallVector<Value> next{newTop, sum, out};
    if (kept)
      next.push_back(keep(t, scores, carried[3], e.mul(e.sub(i, first), e.index(t.page()))));
    return next;
  });
}

/// The attention of a fold: weighted values over the sum of weights, and the log of the sum.
static std::pair<Value, Value> finish(Emitter &e, ArrayRef<Value> folded) {
  Type f32 = e.b.getF32Type();
  ArrayRef<int64_t> shape = tensorType(folded[2]).getShape();
  AffineMap row = e.map(1, {0});
  Value normal = e.generic({folded[2], folded[1]}, e.empty(shape, f32),
                           {e.map(2, {0, 1}), e.map(2, {0}), e.map(2, {0, 1})}, {Iter::parallel, Iter::parallel},
                           [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                             return arith::DivFOp::create(b, loc, a[0], a[1]);
                           });
  Value lse = e.generic({folded[0], folded[1]}, e.empty(shape[0], f32), {row, row, row}, {Iter::parallel},
                        [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                          return arith::AddFOp::create(b, loc, a[0], math::LogOp::create(b, loc, a[1]));
                        });
  return {normal, lse};
}

void sparse::lowering::lowerAttend(Emitter &e, KernelContext &k, sparsity::AttendOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value query = k[op.getQuery()], positions = k[op.getPositions()], sequences = k[op.getSequences()];
  Value indices = op.getIndices() ? k[op.getIndices()] : Value(), count = op.getCount() ? k[op.getCount()] : Value();
  int64_t total = tensorType(query).getDimSize(0), heads = tensorType(query).getDimSize(1) / layout.getKeyDim();
  int64_t selecting = indices ? tensorType(indices).getDimSize(1) : layout.getKvHeads();
  int64_t rows = tileRows(k, op.getPrefill(), total), width = layout.getValueDim();
  Type f32 = e.b.getF32Type();

  SmallVector<Value> outputs{e.empty({total, heads * width}, f32), e.empty({total, heads}, f32)};
  SmallVector<Value> results = e.parallel(
      {total / rows, selecting}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value row = e.mul(ivs[0], e.index(rows));
        QueryTile t{e, state, rows, heads, heads / selecting, op.getScale().convertToDouble(),
                    op.getSoftcap().convertToDouble(), int64_t(op.getWindow()), query, positions, ivs[1],
                    e.div(ivs[1], selecting / layout.getKvHeads()),
                    e.toIndex(e.extract(sequences, row)), {}, {}};
        t.load(row);
        Value pages = pageCount(t, row, ivs[1], count);
        auto [normal, lse] = finish(e, foldPages(t, row, indices, e.index(0), pages));
        int64_t g = t.groups;
        Value cube = tensor::ExpandShapeOp::create(e.b, e.loc, RankedTensorType::get({rows, g, width}, f32), normal,
                                                   ArrayRef<ReassociationIndices>{{0, 1}, {2}});
        Value flat = tensor::CollapseShapeOp::create(e.b, e.loc, RankedTensorType::get({rows, g * width}, f32), cube,
                                                     ArrayRef<ReassociationIndices>{{0}, {1, 2}});
        Value lse2 = tensor::ExpandShapeOp::create(e.b, e.loc, RankedTensorType::get({rows, g}, f32), lse,
                                                   ArrayRef<ReassociationIndices>{{0, 1}});
        return {{flat, {row, e.mul(ivs[1], e.index(g * width))}, {rows, g * width}},
                {lse2, {row, e.mul(ivs[1], e.index(g))}, {rows, g}}};
      });
  k.set(op.getOut(), results[0]);
  k.set(op.getLse(), results[1]);
}

Value sparse::lowering::segmentLength(Emitter &e, Value pages, int64_t segment, int64_t count) {
  if (segment > 0)
    return e.index(segment);
  return arith::MaxUIOp::create(e.b, e.loc, e.ceilDiv(pages, count), e.index(1));
}

void sparse::lowering::lowerAttendPart(Emitter &e, KernelContext &k, sparsity::AttendPartOp op) {
  LayerState state = k.layer(op.getState());
  Value query = k[op.getQuery()], positions = k[op.getPositions()], sequences = k[op.getSequences()];
  Value indices = op.getIndices() ? k[op.getIndices()] : Value(), count = op.getCount() ? k[op.getCount()] : Value();
  ArrayRef<int64_t> shape = cast<RankedTensorType>(op.getTop().getType()).getShape(); // [T, Hs, S, G]
  int64_t selecting = shape[1], groups = shape[3], width = state.layout.getValueDim(), segment = op.getSegment();
  Type f32 = e.b.getF32Type();

  SmallVector<Value> outputs{e.empty({shape[0], selecting, shape[2], groups * width}, f32), e.empty(shape, f32),
                             e.empty(shape, f32)};
  ArrayRef<int64_t> ofScores; // of a segment whose scores stay
  if (!op.getScores().empty()) {
    outputs.push_back(e.empty(tensorType(op.getScores().front()).getShape(), f32));
    ofScores = tensorType(op.getScores().front()).getShape().take_back(2);
  }
  SmallVector<Value> results = e.parallel(
      {shape[2], shape[0], selecting}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value row = ivs[1], head = ivs[2];
        QueryTile t{e, state, 1, selecting * groups, groups, op.getScale().convertToDouble(),
                    op.getSoftcap().convertToDouble(), int64_t(op.getWindow()), query, positions, head,
                    e.div(head, selecting / state.layout.getKvHeads()), e.toIndex(e.extract(sequences, row)), {}, {}};
        t.load(row);
        Value pages = pageCount(t, row, head, count), length = segmentLength(e, pages, segment, shape[2]);
        Value first = e.mul(ivs[0], length);
        Value last = e.min(pages, e.add(first, length));
        Value kept = ofScores.empty() ? Value() : e.empty(ofScores, f32);
        SmallVector<Value> folded = foldPages(t, row, indices, first, last, kept);
        Value flat = tensor::CollapseShapeOp::create(e.b, e.loc, RankedTensorType::get({groups * width}, f32),
                                                     folded[2], ArrayRef<ReassociationIndices>{{0, 1}});
        SmallVector<OpFoldResult> at{row, head, ivs[0], e.b.getIndexAttr(0)};
        SmallVector<Emitter::Piece> pieces{{flat, at, {1, 1, 1, groups * width}},
                                           {folded[0], at, {1, 1, 1, groups}},
                                           {folded[1], at, {1, 1, 1, groups}}};
        if (kept) {
          at.push_back(e.b.getIndexAttr(0));
          pieces.push_back({folded[3], at, {1, 1, 1, ofScores[0], ofScores[1]}});
        }
        return pieces;
      });
  k.set(op.getOut(), results[0]);
  k.set(op.getTop(), results[1]);
  k.set(op.getSum(), results[2]);
  for (Value scores : op.getScores())
    k.set(scores, results[3]);
}

/// What each slot of a page receives: the sum over the queries of a tile [n, page] of weights.
static Value received(Emitter &e, Value weights) {
  int64_t page = tensorType(weights).getDimSize(1);
  return e.generic(weights, e.filled({page}, e.f32(0)), {e.map(2, {0, 1}), e.map(2, {1})},
                   {Iter::reduction, Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                     return arith::AddFOp::create(b, loc, a[1], a[0]);
                   });
}

/// Tasks of one head's mass of scores: for the threads of a machine that decodes one sequence.
static constexpr int64_t kMassTasks = 8;

void sparse::lowering::lowerMassOfScores(Emitter &e, KernelContext &k, sparsity::MassOfScoresOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value scores = k[op.getScores()], lse = k[op.getLse()], positions = k[op.getPositions()];
  Value sequences = k[op.getSequences()], active = k[op.getActive()];
  ArrayRef<int64_t> shape = tensorType(scores).getShape(); // [T, Hk, S, slots and queries in either order]
  bool bySlot = scoresBySlot(layout);
  int64_t groups = shape[bySlot ? 4 : 3], page = layout.getPage(), slots = layout.getMaxSlots();
  Value blank = e.empty({shape[0], shape[1], slots}, e.b.getF32Type());

  // Only slots in use are written: to clear the others would cost more than to add up.
  SmallVector<Value> results =
      e.tasks({shape[0], shape[1], kMassTasks}, blank, [&](ValueRange ivs, ValueRange outer) -> SmallVector<Value> {
        Value row = ivs[0], head = ivs[1];
        QueryTile t{e, state, 1, shape[1] * groups, groups, 1, 0, -1, {}, positions, head, head,
                    e.toIndex(e.extract(sequences, row)), {}, {}};
        Value isActive = e.cmp(arith::CmpIPredicate::ne, e.extract(active, row), e.i32(0));
        Value pages = pageCount(t, row, head, {}), length = segmentLength(e, pages, op.getSegment(), shape[2]);
        Value share = e.ceilDiv(pages, kMassTasks), first = e.mul(ivs[2], share);
        Value last = e.min(pages, e.add(first, share));
        Value reference = e.slice(lse, {row, e.mul(head, e.index(groups))}, {1, groups}, {groups});
        auto tileOf = [&](Value logical) {
          OpFoldResult segment = Value(arith::DivUIOp::create(e.b, e.loc, logical, length)), zero = e.b.getIndexAttr(0);
          OpFoldResult inside = e.mul(arith::RemUIOp::create(e.b, e.loc, logical, length), e.index(page));
          if (!bySlot)
            return e.slice(scores, {row, head, segment, zero, inside}, {1, 1, 1, groups, page}, {groups, page});
          return transposed(
              e, e.slice(scores, {row, head, segment, inside, zero}, {1, 1, 1, page, groups}, {page, groups}));
        };
        return e.ifThen(isActive, outer, [&]() -> SmallVector<Value> {
          return e.loop(first, last, outer, [&](Value logical, ValueRange carried) {
            Value sums = received(e, weights(e, tileOf(logical), reference));
            SmallVector<OpFoldResult> at{row, head, e.mul(logical, e.index(page))};
            return SmallVector<Value>{e.insertSlice(sums, carried[0], at, {1, 1, page})};
          });
        });
      });
  k.set(op.getMass(), results[0]);
}

void sparse::lowering::lowerCombine(Emitter &e, KernelContext &k, sparsity::CombineOp op) {
  LayerState state = k.layer(op.getState());
  Value parts = k[op.getParts()], tops = k[op.getTops()], sums = k[op.getSums()];
  Value positions = k[op.getPositions()], sequences = k[op.getSequences()];
  Value count = op.getCount() ? k[op.getCount()] : Value();
  ArrayRef<int64_t> shape = tensorType(tops).getShape(); // [T, Hs, S, G]
  int64_t rows = shape[0], selecting = shape[1], groups = shape[3], width = state.layout.getValueDim();
  Type f32 = e.b.getF32Type();

  SmallVector<Value> outputs{e.empty({rows, selecting * groups * width}, f32), e.empty({rows, selecting * groups}, f32)};
  SmallVector<Value> results = e.parallel(
      {rows, selecting}, outputs, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value row = ivs[0], head = ivs[1];
        QueryTile t{e, state, 1, selecting * groups, groups, 1, 0, -1, {}, positions, head,
                    e.div(head, selecting / state.layout.getKvHeads()), e.toIndex(e.extract(sequences, row)), {}, {}};
        Value pages = pageCount(t, row, head, count);
        Value length = segmentLength(e, pages, op.getSegment(), shape[2]);
        Value segments = arith::CeilDivUIOp::create(e.b, e.loc, pages, length);
        SmallVector<Value> init{e.filled({groups}, e.f32(kHidden)), e.filled({groups}, e.f32(0)),
                                e.filled({groups, width}, e.f32(0))};
        AffineMap one = e.map(1, {0}), all = e.map(2, {0, 1}), byRow = e.map(2, {0});
        auto exp = [](OpBuilder &b, Location loc, ValueRange a) -> Value {
          return math::ExpOp::create(b, loc, arith::SubFOp::create(b, loc, a[0], a[1]));
        };
        auto max = [](OpBuilder &b, Location loc, ValueRange a) -> Value {
          return arith::MaximumFOp::create(b, loc, a[0], a[1]);
        };
        SmallVector<Value> folded = e.loop(e.index(0), segments, init, [&](Value s, ValueRange carried) {
          SmallVector<OpFoldResult> at{row, head, s, e.b.getIndexAttr(0)};
          Value top = e.slice(tops, at, {1, 1, 1, groups}, {groups});
          Value sum = e.slice(sums, at, {1, 1, 1, groups}, {groups});
          Value flat = e.slice(parts, at, {1, 1, 1, groups * width}, {groups * width});
          Value part = tensor::ExpandShapeOp::create(e.b, e.loc, RankedTensorType::get({groups, width}, f32), flat,
                                                     ArrayRef<ReassociationIndices>{{0, 1}});
          Value newTop = e.generic({carried[0], top}, e.empty({groups}, f32), {one, one, one}, {Iter::parallel}, max);
          Value before = e.generic({carried[0], newTop}, e.empty({groups}, f32), {one, one, one}, {Iter::parallel}, exp);
          Value now = e.generic({top, newTop}, e.empty({groups}, f32), {one, one, one}, {Iter::parallel}, exp);
          Value newSum = e.generic({before, sum, now}, carried[1], {one, one, one, one}, {Iter::parallel},
                                   [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                     Value kept = arith::MulFOp::create(b, loc, a[3], a[0]);
                                     Value added = arith::MulFOp::create(b, loc, a[1], a[2]);
                                     return arith::AddFOp::create(b, loc, kept, added);
                                   });
          Value newOut = e.generic({before, part, now}, carried[2], {byRow, all, byRow, all},
                                   {Iter::parallel, Iter::parallel},
                                   [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                     Value kept = arith::MulFOp::create(b, loc, a[3], a[0]);
                                     Value added = arith::MulFOp::create(b, loc, a[1], a[2]);
                                     return arith::AddFOp::create(b, loc, kept, added);
                                   });
          Value topInPlace = e.generic(top, carried[0], {one, one}, {Iter::parallel}, max);
          return SmallVector<Value>{topInPlace, newSum, newOut};
        });
        auto [normal, lse] = finish(e, folded);
        Value out = tensor::CollapseShapeOp::create(e.b, e.loc, RankedTensorType::get({groups * width}, f32), normal,
                                                    ArrayRef<ReassociationIndices>{{0, 1}});
        return {{out, {row, e.mul(head, e.index(groups * width))}, {1, groups * width}},
                {lse, {row, e.mul(head, e.index(groups))}, {1, groups}}};
      });
  k.set(op.getOut(), results[0]);
  k.set(op.getLse(), results[1]);
}

void sparse::lowering::lowerMass(Emitter &e, KernelContext &k, sparsity::MassOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value query = k[op.getQuery()], lse = k[op.getLse()], positions = k[op.getPositions()];
  Value sequences = k[op.getSequences()], active = k[op.getActive()];
  Value indices = op.getIndices() ? k[op.getIndices()] : Value(), count = op.getCount() ? k[op.getCount()] : Value();
  int64_t total = tensorType(query).getDimSize(0), heads = tensorType(query).getDimSize(1) / layout.getKeyDim();
  int64_t kvHeads = layout.getKvHeads(), slots = layout.getMaxSlots(), page = layout.getPage();
  int64_t selecting = indices ? tensorType(indices).getDimSize(1) : kvHeads, perHead = selecting / kvHeads;
  int64_t rows = tileRows(k, op.getPrefill(), total), batch = op.getPrefill() ? 1 : total;
  Type f32 = e.b.getF32Type();

  SmallVector<Value> results = e.parallel(
      {batch, kvHeads}, e.empty({batch, kvHeads, slots}, f32), [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value mass = e.filled({slots}, e.f32(0));
        Value firstTile = op.getPrefill() ? e.index(0) : ivs[0];
        Value lastTile = op.getPrefill() ? e.index(total / rows) : e.add(ivs[0], e.index(1));
        mass = e.loop(firstTile, lastTile, mass, [&](Value tile, ValueRange outer) {
          return e.loop(perHead, outer, [&](Value sub, ValueRange perHeadCarried) {
            Value row = e.mul(tile, e.index(rows)), selector = e.add(e.mul(ivs[1], e.index(perHead)), sub);
            QueryTile t{e, state, rows, heads, heads / selecting, op.getScale().convertToDouble(),
                        op.getSoftcap().convertToDouble(), int64_t(op.getWindow()), query, positions, selector, ivs[1],
                        e.toIndex(e.extract(sequences, row)), {}, {}};
            t.load(row);
            int64_t g = t.groups;
            Value rowActive = e.slice(active, {row}, {rows}, {rows});
            Value lseTile = e.slice(lse, {row, e.mul(selector, e.index(g))}, {rows, g}, {rows, g});
            Value copied = e.generic(lseTile, e.empty({rows, g}, f32), {e.map(2, {0, 1}), e.map(2, {0, 1})},
                                     {Iter::parallel, Iter::parallel},
                                     [](OpBuilder &, Location, ValueRange a) -> Value { return a[0]; });
            Value reference = tensor::CollapseShapeOp::create(e.b, e.loc, RankedTensorType::get({rows * g}, f32),
                                                              copied, ArrayRef<ReassociationIndices>{{0, 1}});
            Value pages = pageCount(t, row, selector, count);
            return e.loop(e.index(0), pages, perHeadCarried, [&](Value i, ValueRange carried) {
              Value logical = pageAt(t, row, selector, indices, i);
              Value physical = t.physicalPage(logical);
              Value p = weights(e, t.scores(logical, physical, rowActive), reference);
              Value sums = received(e, p);
              SmallVector<OpFoldResult> at{e.mul(logical, e.index(page))};
              AffineMap one = e.map(1, {0});
              Value total = e.generic(sums, e.slice(carried[0], at, {page}, {page}), {one, one}, {Iter::parallel},
                                      [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                        return arith::AddFOp::create(b, loc, a[1], a[0]);
                                      });
              return SmallVector<Value>{e.insertSlice(total, carried[0], at, {page})};
            });
          });
        })[0];
        return {{mass, {ivs[0], ivs[1], e.b.getIndexAttr(0)}, {1, 1, slots}}};
      });
  k.set(op.getMass(), results[0]);
}
