//===-- Dense.cpp - Kernels without cache: embedding, norm, rotary, linear ----------------------------------------===//
#include "passes/ToLinalg/Elementwise.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::lowering;

using Iter = utils::IteratorType;

static RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

void sparse::lowering::lowerEmbed(Emitter &e, KernelContext &k, sparsity::EmbedOp op) {
  Value table = k[op.getTable()], ids = k[op.getIds()];
  int64_t panel = tensorType(table).getDimSize(2), width = tensorType(table).getDimSize(1);
  int64_t rows = tensorType(ids).getDimSize(0);
  Value out = e.empty({rows, width}, e.b.getF32Type());
  SmallVector<Value> result = e.parallel({rows}, out, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value id = e.toIndex(e.extract(ids, ivs[0]));
    Value block = e.div(id, panel), lane = e.rem(id, panel);
    Value row = e.generic({}, e.empty({width}, e.b.getF32Type()), {e.map(1, {0})}, {Iter::parallel},
                          [&](OpBuilder &b, Location loc, ValueRange) {
                            Emitter inner(b, loc);
                            Value channel = linalg::IndexOp::create(b, loc, 0);
                            return inner.toF32(inner.extract(table, {block, channel, lane}));
                          });
    return {{row, {ivs[0], e.b.getIndexAttr(0)}, {1, width}}};
  });
  k.set(op.getOut(), result[0]);
}

/// Lanes of partial sums in a row reduction: fixed, so that the order of additions never depends on the target.
static int64_t reductionLanes(int64_t width) {
  int64_t lanes = 16;
  while (width % lanes != 0)
    lanes /= 2;
  return lanes;
}

void sparse::lowering::lowerNorm(Emitter &e, KernelContext &k, onnx::RMSNormalizationOp op) {
  Value x = k[op.getX()], scale = k[op.getScale()];
  int64_t rows = tensorType(x).getDimSize(0), width = tensorType(x).getDimSize(1);
  // A norm over part of a row (one head) takes as many scales as the part is wide.
  int64_t part = tensorType(scale).getDimSize(0), parts = width / part, lanes = reductionLanes(part);
  double epsilon = op.getEpsilon().convertToDouble();
  Type f32 = e.b.getF32Type();
  Value out = e.empty({rows, width}, f32);
  SmallVector<Value> result = e.parallel({rows, parts}, out, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value offset = e.mul(ivs[1], e.index(part));
    Value row = e.slice(x, {ivs[0], offset}, {1, part}, {part});
    Value folded = tensor::ExpandShapeOp::create(e.b, e.loc, RankedTensorType::get({part / lanes, lanes}, f32), row,
                                                 ArrayRef<ReassociationIndices>{{0, 1}});
    Value partial = e.generic(folded, e.filled({lanes}, e.f32(0)), {e.map(2, {0, 1}), e.map(2, {1})},
                              {Iter::reduction, Iter::parallel}, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                                Value square = arith::MulFOp::create(b, loc, a[0], a[0]);
                                return arith::AddFOp::create(b, loc, a[1], square);
                              });
    Value zero = e.filled({}, e.f32(0));
    Value sum = e.generic(partial, zero, {e.map(1, {0}), e.map(1, {})}, {Iter::reduction},
                          [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                            return arith::AddFOp::create(b, loc, a[1], a[0]);
                          });
    Value mean = arith::DivFOp::create(e.b, e.loc, e.extract(sum, {}), e.f32(part));
    Value root = math::SqrtOp::create(e.b, e.loc, arith::AddFOp::create(e.b, e.loc, mean, e.f32(epsilon)));
    Value inverse = arith::DivFOp::create(e.b, e.loc, e.f32(1), root);
    Value y = e.generic({row, scale}, e.empty({part}, f32), {e.map(1, {0}), e.map(1, {0}), e.map(1, {0})},
                        {Iter::parallel}, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                          Emitter inner(b, loc);
                          Value normal = arith::MulFOp::create(b, loc, a[0], inverse);
                          return arith::MulFOp::create(b, loc, normal, inner.toF32(a[1]));
                        });
    return {{y, {ivs[0], offset}, {1, part}}};
  });
  k.set(op.getResult(), result[0]);
}

void sparse::lowering::lowerRope(Emitter &e, KernelContext &k, onnx::RotaryEmbeddingOp op) {
  Value x = k[op.getX()], cos = k[op.getCosCache()], sin = k[op.getSinCache()], positions = k[op.getPositionIds()];
  int64_t rows = tensorType(x).getDimSize(0), width = tensorType(x).getDimSize(1);
  int64_t dim = width / op.getNumHeads(), half = tensorType(cos).getDimSize(1);
  bool interleaved = op.getInterleaved() != 0;
  Type f32 = e.b.getF32Type();
  Value out = e.empty({rows, width}, f32);
  SmallVector<Value> result = e.parallel({rows}, out, [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
    Value position = e.toIndex(e.extract(positions, ivs[0]));
    // Each element reads its partner: (x1 c - x2 s, x2 c + x1 s); elements past the rotary width pass through.
    Value y = e.generic(
        {}, e.empty({width}, f32), {e.map(1, {0})}, {Iter::parallel},
        [&](OpBuilder &b, Location loc, ValueRange) -> Value {
          Emitter in(b, loc);
          Value column = linalg::IndexOp::create(b, loc, 0);
          Value channel = in.rem(column, dim);
          Value self = in.extract(x, {ivs[0], column});
          Value first, pair;
          if (interleaved) {
            first = in.cmp(arith::CmpIPredicate::eq, in.rem(channel, 2), in.index(0));
            pair = in.div(channel, 2);
          } else {
            first = in.cmp(arith::CmpIPredicate::ult, channel, in.index(half));
            pair = in.rem(channel, half);
          }
          int64_t distance = interleaved ? 1 : half;
          Value partnerColumn =
              in.select(first, in.add(column, in.index(distance)), in.sub(column, in.index(distance)));
          Value rotates = in.cmp(arith::CmpIPredicate::ult, channel, in.index(2 * half));
          Value partner = in.extract(x, {ivs[0], in.select(rotates, partnerColumn, column)});
          Value row = in.select(rotates, pair, in.index(0));
          Value c = in.toF32(in.extract(cos, {position, row})), s = in.toF32(in.extract(sin, {position, row}));
          Value turned = arith::MulFOp::create(b, loc, partner, s);
          Value signedTurn = in.select(first, arith::NegFOp::create(b, loc, turned), turned);
          Value rotated = arith::AddFOp::create(b, loc, arith::MulFOp::create(b, loc, self, c), signedTurn);
          return in.select(rotates, rotated, self);
        });
    return {{y, {ivs[0], e.b.getIndexAttr(0)}, {1, width}}};
  });
  k.set(op.getResult(), result[0]);
}

//===-- Linear layers and elementwise ops -------------------------------------------------------------------------===//

/// Applies an elementwise op to a tile: columns [column, column + width) of rows [row, row + height).
static FailureOr<Value> applyToTile(Emitter &e, KernelContext &k, Operation *op,
                                    const DenseMap<Value, Value> &tiles, Value row, Value column, int64_t height,
                                    int64_t width) {
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  SmallVector<std::optional<double>> constants;
  for (Value operand : op->getOperands()) {
    constants.push_back(std::nullopt);
    if (Value tile = tiles.lookup(operand)) {
      inputs.push_back(tile);
      maps.push_back(e.map(2, {0, 1}));
      continue;
    }
    if (auto constant = operand.getDefiningOp<onnx::ConstantOp>()) {
      auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
      if (!elements || !elements.isSplat() || !elements.getElementType().isF32())
        return op->emitError("has a constant operand that is no f32 scalar");
      constants.back() = elements.getSplatValue<APFloat>().convertToDouble();
      continue;
    }
    Value whole = k[operand];
    if (tensorType(whole).getRank() == 1) {
      inputs.push_back(e.slice(whole, {column}, {width}, {width}));
      maps.push_back(e.map(2, {1}));
    } else {
      inputs.push_back(e.slice(whole, {row, column}, {height, width}, {height, width}));
      maps.push_back(e.map(2, {0, 1}));
    }
  }
  maps.push_back(e.map(2, {0, 1}));
  bool known = true;
  Value result = e.generic(inputs, e.empty({height, width}, e.b.getF32Type()), maps, {Iter::parallel, Iter::parallel},
                           [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                             SmallVector<Value> scalars;
                             unsigned next = 0;
                             for (auto constant : constants)
                               scalars.push_back(constant ? Emitter(b, loc).f32(*constant)
                                                          : Emitter(b, loc).toF32(args[next++]));
                             Value scalar = scalarOf(b, loc, op, scalars);
                             known &= bool(scalar);
                             return scalar ? scalar : args.back();
                           });
  if (!known)
    return op->emitError("has no lowering to linalg");
  return result;
}

LogicalResult sparse::lowering::lowerLinear(Emitter &e, KernelContext &k, sparsity::LinearOp linear,
                                            ArrayRef<Operation *> epilogue) {
  Value resultValue = epilogue.empty() ? linear.getOut() : epilogue.back()->getResult(0);
  auto type = cast<RankedTensorType>(resultValue.getType());
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  Value weight = linear ? k[linear.getWeight()] : Value();
  int64_t width = linear ? tensorType(weight).getDimSize(2) : columns;
  int64_t height = k.tiles.empty() ? 1 : k.tiles[0];
  if (rows % height != 0)
    height = 1;
  Type f32 = e.b.getF32Type(), element = type.getElementType();

  bool ok = true;
  SmallVector<Value> result = e.parallel(
      {columns / width, rows / height}, e.empty({rows, columns}, element),
      [&](ValueRange ivs) -> SmallVector<Emitter::Piece> {
        Value row = e.mul(ivs[1], e.index(height)), column = e.mul(ivs[0], e.index(width));
        DenseMap<Value, Value> tiles;
        Value tile;
        if (linear) {
          Value x = k[linear.getX()];
          int64_t depth = tensorType(x).getDimSize(1);
          Value xTile = e.slice(x, {row, e.b.getIndexAttr(0)}, {height, depth}, {height, depth});
          Value panel = e.slice(weight, {ivs[0], e.b.getIndexAttr(0), e.b.getIndexAttr(0)}, {1, depth, width},
                                {depth, width});
          tile = e.generic({xTile, panel}, e.filled({height, width}, e.f32(0)),
                           {e.map(3, {0, 1}), e.map(3, {1, 2}), e.map(3, {0, 2})},
                           {Iter::parallel, Iter::reduction, Iter::parallel},
                           [](OpBuilder &b, Location loc, ValueRange a) -> Value {
                             Emitter inner(b, loc);
                             Value product = arith::MulFOp::create(b, loc, inner.toF32(a[0]), inner.toF32(a[1]));
                             return arith::AddFOp::create(b, loc, a[2], product);
                           });
          tiles[linear.getOut()] = tile;
        }
        for (Operation *op : epilogue) {
          FailureOr<Value> applied = applyToTile(e, k, op, tiles, row, column, height, width);
          if (failed(applied)) {
            ok = false;
            tile = e.empty({height, width}, f32);
            break;
          }
          tile = tiles[op->getResult(0)] = *applied;
        }
        if (!element.isF32())
          tile = e.generic(tile, e.empty({height, width}, element), {e.map(2, {0, 1}), e.map(2, {0, 1})},
                           {Iter::parallel, Iter::parallel}, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                             return Emitter(b, loc).fromF32(a[0], element);
                           });
        return {{tile, {row, column}, {height, width}}};
      });
  k.set(resultValue, result[0]);
  return success(ok);
}
