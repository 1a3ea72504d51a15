//===-- Loops.h - Short hands for the loops and tiles of the linalg lowering -----------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOLINALG_LOOPS_H
#define SPARSE_PASSES_TOLINALG_LOOPS_H

#include "passes/Passes.h"

namespace sparse::lowering {
using namespace mlir; // the lowering is written against the upstream dialects throughout

/// Marks the loop of Emitter::tasks.
inline constexpr StringLiteral kTasksAttr = "plan.tasks";

/// Builder of scalars, loops and linalg tiles at one location.
class Emitter {
public:
  Emitter(OpBuilder &b, Location loc) : b(b), loc(loc) {}

  // Scalars.
  Value index(int64_t value);
  Value i32(int64_t value);
  Value f32(double value);
  Value toIndex(Value i32);
  Value toI32(Value index);
  Value add(Value a, Value c);
  Value sub(Value a, Value c);
  Value mul(Value a, Value c);
  Value div(Value a, int64_t by); // unsigned, of an index
  Value rem(Value a, int64_t by);
  Value ceilDiv(Value a, int64_t by);
  Value min(Value a, Value c);
  Value cmp(arith::CmpIPredicate predicate, Value a, Value c);
  Value both(Value a, Value c);
  Value either(Value a, Value c);
  Value select(Value condition, Value a, Value c);
  /// A number as memory has it (f32, bf16, f16, or a code without its scale) as f32, and back.
  Value toF32(Value value);
  Value fromF32(Value value, Type type);
  /// An f32 as a signed i32 of the same order (-inf below, +inf above every number).
  Value ordered(Value value);

  // Tensors.
  Value empty(ArrayRef<int64_t> shape, Type type);
  Value filled(ArrayRef<int64_t> shape, Value scalar);
  Value extract(Value tensor, ValueRange indices);
  Value insert(Value scalar, Value tensor, ValueRange indices);
  /// A static-size slice whose leading offsets are values and whose dimensions of size one in `dropped` vanish.
  Value slice(Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> shape);

  /// `tile` in the place of such a slice: in place, where the tile is computed from the slice itself.
  Value insertSlice(Value tile, Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes);

  using LoopBody = function_ref<SmallVector<Value>(Value iv, ValueRange carried)>;
  /// for iv in [lower, upper): carried values through the body; returns the last ones.
  SmallVector<Value> loop(Value lower, Value upper, ValueRange init, LoopBody body);
  SmallVector<Value> loop(int64_t upper, ValueRange init, LoopBody body) {
    return loop(index(0), index(upper), init, body);
  }
  /// if condition: `then`, else `otherwise` unchanged.
  SmallVector<Value> ifThen(Value condition, ValueRange otherwise, function_ref<SmallVector<Value>()> then);

  /// One linalg.generic with a single output.
  using Region = function_ref<Value(OpBuilder &, Location, ValueRange args)>;
  Value generic(ValueRange inputs, Value output, ArrayRef<AffineMap> maps, ArrayRef<utils::IteratorType> iterators,
                Region region);
  /// The same with several outputs.
  using Regions = function_ref<SmallVector<Value>(OpBuilder &, Location, ValueRange args)>;
  SmallVector<Value> generics(ValueRange inputs, ValueRange outputs, ArrayRef<AffineMap> maps,
                              ArrayRef<utils::IteratorType> iterators, Regions region);
  AffineMap map(unsigned dims, ArrayRef<unsigned> results);

  /// What one task of a parallel kernel writes: `value` at `offsets` (sizes are its shape, padded in front with ones).
  struct Piece {
    Value value;
    SmallVector<OpFoldResult> offsets;
    SmallVector<int64_t> sizes;
  };
  /// forall ivs in [0, grid): every task computes its pieces of the outputs.
  SmallVector<Value> parallel(ArrayRef<int64_t> grid, ValueRange outputs,
                              function_ref<SmallVector<Piece>(ValueRange ivs)> task);
  /// The other form of a parallel kernel, for what changes in place: `init` (operands and empty tensors) goes through
  /// every task as through a loop, but no task may read or write what another one writes.
  SmallVector<Value> tasks(ArrayRef<int64_t> grid, ValueRange init,
                           function_ref<SmallVector<Value>(ValueRange ivs, ValueRange carried)> task);

  OpBuilder &b;
  Location loc;
};

} // namespace sparse::lowering

#endif
