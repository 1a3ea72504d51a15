//===-- Loops.cpp - Short hands for the loops and tiles of the linalg lowering ------------------------------------===//
#include "passes/ToLinalg/Loops.h"
#include "passes/ToLinalg/StoredNumbers.h"

#include <limits>

using namespace sparse::lowering;

Value Emitter::index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
Value Emitter::i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value)); }
Value Emitter::f32(double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }
Value Emitter::toIndex(Value value) { return arith::IndexCastOp::create(b, loc, b.getIndexType(), value); }
Value Emitter::toI32(Value value) { return arith::IndexCastOp::create(b, loc, b.getI32Type(), value); }
Value Emitter::add(Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }
Value Emitter::sub(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
Value Emitter::mul(Value a, Value c) { return arith::MulIOp::create(b, loc, a, c); }
Value Emitter::div(Value a, int64_t by) { return arith::DivUIOp::create(b, loc, a, index(by)); }
Value Emitter::rem(Value a, int64_t by) { return arith::RemUIOp::create(b, loc, a, index(by)); }
Value Emitter::ceilDiv(Value a, int64_t by) { return div(add(a, index(by - 1)), by); }
Value Emitter::min(Value a, Value c) { return arith::MinSIOp::create(b, loc, a, c); }
Value Emitter::cmp(arith::CmpIPredicate predicate, Value a, Value c) {
  return arith::CmpIOp::create(b, loc, predicate, a, c);
}
Value Emitter::both(Value a, Value c) { return arith::AndIOp::create(b, loc, a, c); }
Value Emitter::either(Value a, Value c) { return arith::OrIOp::create(b, loc, a, c); }
Value Emitter::select(Value condition, Value a, Value c) { return arith::SelectOp::create(b, loc, condition, a, c); }

Value Emitter::toF32(Value value) { return readStored(b, loc, value); }

Value Emitter::fromF32(Value value, Type type) { return writeStored(b, loc, value, type); }

Value Emitter::ordered(Value value) {
  // Negative floats order backwards as integers: flip all their bits but the sign.
  Value bits = arith::BitcastOp::create(b, loc, b.getI32Type(), value);
  Value flipped = arith::XOrIOp::create(b, loc, bits, i32(std::numeric_limits<int32_t>::max()));
  return select(cmp(arith::CmpIPredicate::slt, bits, i32(0)), flipped, bits);
}

Value Emitter::empty(ArrayRef<int64_t> shape, Type type) { return tensor::EmptyOp::create(b, loc, shape, type); }

Value Emitter::filled(ArrayRef<int64_t> shape, Value scalar) {
  return linalg::FillOp::create(b, loc, scalar, empty(shape, scalar.getType())).getResult(0);
}

Value Emitter::extract(Value tensor, ValueRange indices) { return tensor::ExtractOp::create(b, loc, tensor, indices); }

Value Emitter::insert(Value scalar, Value tensor, ValueRange indices) {
  return tensor::InsertOp::create(b, loc, scalar, tensor, indices);
}

static SmallVector<OpFoldResult> attrs(OpBuilder &b, ArrayRef<int64_t> values) {
  return llvm::map_to_vector(values, [&](int64_t v) -> OpFoldResult { return b.getIndexAttr(v); });
}

Value Emitter::slice(Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> shape) {
  SmallVector<OpFoldResult> strides(sizes.size(), b.getIndexAttr(1));
  auto type = RankedTensorType::get(shape, cast<RankedTensorType>(tensor.getType()).getElementType());
  return tensor::ExtractSliceOp::create(b, loc, type, tensor, offsets, attrs(b, sizes), strides);
}

Value Emitter::insertSlice(Value tile, Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes) {
  SmallVector<OpFoldResult> strides(sizes.size(), b.getIndexAttr(1));
  return tensor::InsertSliceOp::create(b, loc, tile, tensor, offsets, attrs(b, sizes), strides);
}

SmallVector<Value> Emitter::loop(Value lower, Value upper, ValueRange init, LoopBody body) {
  auto op = scf::ForOp::create(b, loc, lower, upper, index(1), init,
                               [&](OpBuilder &, Location, Value iv, ValueRange carried) {
                                 SmallVector<Value> next = body(iv, carried);
                                 scf::YieldOp::create(b, loc, next);
                               });
  return SmallVector<Value>(op.getResults());
}

SmallVector<Value> Emitter::ifThen(Value condition, ValueRange otherwise, function_ref<SmallVector<Value>()> then) {
  auto op = scf::IfOp::create(
      b, loc, condition, [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, then()); },
      [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, otherwise); });
  return SmallVector<Value>(op.getResults());
}

Value Emitter::generic(ValueRange inputs, Value output, ArrayRef<AffineMap> maps,
                       ArrayRef<utils::IteratorType> iterators, Region region) {
  return generics(inputs, output, maps, iterators, [&](OpBuilder &inner, Location at, ValueRange args) {
    return SmallVector<Value>{region(inner, at, args)};
  })[0];
}

SmallVector<Value> Emitter::generics(ValueRange inputs, ValueRange outputs, ArrayRef<AffineMap> maps,
                                     ArrayRef<utils::IteratorType> iterators, Regions region) {
  auto op = linalg::GenericOp::create(b, loc, outputs.getTypes(), inputs, outputs, maps, iterators,
                                      [&](OpBuilder &inner, Location at, ValueRange args) {
                                        linalg::YieldOp::create(inner, at, region(inner, at, args));
                                      });
  return SmallVector<Value>(op.getResults());
}

AffineMap Emitter::map(unsigned dims, ArrayRef<unsigned> results) {
  SmallVector<AffineExpr> exprs;
  for (unsigned dim : results)
    exprs.push_back(b.getAffineDimExpr(dim));
  return AffineMap::get(dims, 0, exprs, b.getContext());
}

SmallVector<Value> Emitter::parallel(ArrayRef<int64_t> grid, ValueRange outputs,
                                     function_ref<SmallVector<Piece>(ValueRange ivs)> task) {
  SmallVector<OpFoldResult> bounds = attrs(b, grid);
  auto op = scf::ForallOp::create(b, loc, bounds, outputs, std::nullopt);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  SmallVector<Piece> pieces = task(op.getInductionVars());
  b.setInsertionPointToStart(op.getTerminator().getBody());
  for (auto [piece, output] : llvm::zip(pieces, op.getRegionOutArgs())) {
    SmallVector<OpFoldResult> strides(piece.sizes.size(), b.getIndexAttr(1));
    tensor::ParallelInsertSliceOp::create(b, loc, piece.value, output, piece.offsets, attrs(b, piece.sizes), strides);
  }
  return SmallVector<Value>(op.getResults());
}

SmallVector<Value> Emitter::tasks(ArrayRef<int64_t> grid, ValueRange init,
                                  function_ref<SmallVector<Value>(ValueRange ivs, ValueRange carried)> task) {
  auto op = scf::ForOp::create(b, loc, index(0), index(llvm::product_of(grid)), index(1), init,
                               [&](OpBuilder &, Location, Value rest, ValueRange carried) {
                                 SmallVector<Value> ivs(grid.size());
                                 for (size_t dim = grid.size(); dim-- > 1; rest = div(rest, grid[dim]))
                                   ivs[dim] = rem(rest, grid[dim]);
                                 ivs[0] = rest;
                                 scf::YieldOp::create(b, loc, task(ivs, carried));
                               });
  op->setAttr(kTasksAttr, b.getUnitAttr());
  return SmallVector<Value>(op.getResults());
}
