//===-- Device.h - Building blocks of GPU kernels --------------------------------------------------------*- C++ -*-===//
//
// What templates are written with. Addresses are raw pointers (the descriptors of memrefs would fill registers), integers
// are i32 except offsets into buffers, which are i64. Every piece is one or a few ops of the gpu, nvvm, vector, arith, scf
// and llvm dialects.
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_PASSES_TOGPU_DEVICE_H
#define SPARSE_PASSES_TOGPU_DEVICE_H

#include "passes/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace sparse::device {

using namespace mlir; // NOLINT: templates are written against the upstream dialects throughout

inline constexpr int64_t kWarp = 32;
/// Address spaces of PTX.
inline constexpr unsigned kGlobal = 1, kShared = 3;

/// Memory of one element type: in a kernel's buffer (global) or of its block (shared).
struct Span {
  Value base; // !llvm.ptr
  Type element;
};

/// Builder of device code at one place.
class Device {
public:
  /// `dependentLaunch`: the device can begin a launch before the one before has ended (compute capability 9).
  Device(OpBuilder &b, Location loc, gpu::GPUModuleOp module, bool dependentLaunch)
      : b(b), loc(loc), module(module), dependentLaunch(dependentLaunch) {}

  // Integers (i32 unless said otherwise) and floats.
  Value i32(int64_t value);
  Value i64(int64_t value);
  Value f32(double value);
  Value boolean(bool value);
  Value zero(Type type); // of an int, float or vector type
  Value add(Value a, Value c);
  Value sub(Value a, Value c);
  Value mul(Value a, Value c);
  Value divU(Value a, int64_t by);
  Value remU(Value a, int64_t by);
  Value divU(Value a, Value by);
  Value remU(Value a, Value by);
  Value ceilDivU(Value a, Value by);
  Value minS(Value a, Value c);
  Value maxS(Value a, Value c);
  Value bitAnd(Value a, Value c);
  Value bitOr(Value a, Value c);
  Value bitXor(Value a, Value c);
  Value shl(Value a, int64_t by);
  Value shrU(Value a, int64_t by);
  Value cmp(arith::CmpIPredicate predicate, Value a, Value c);
  Value eq(Value a, Value c) { return cmp(arith::CmpIPredicate::eq, a, c); }
  Value lt(Value a, Value c) { return cmp(arith::CmpIPredicate::slt, a, c); }
  Value ge(Value a, Value c) { return cmp(arith::CmpIPredicate::sge, a, c); }
  Value select(Value condition, Value a, Value c);
  Value wide(Value i32Value); // unsigned to i64
  Value toF32(Value value);   // from bf16, f16 or f32; scalars and vectors
  Value fromF32(Value value, Type element);
  Value addF(Value a, Value c);
  Value subF(Value a, Value c);
  Value mulF(Value a, Value c);
  Value divF(Value a, Value c);
  Value fma(Value a, Value c, Value d);
  Value maxF(Value a, Value c);
  Value minF(Value a, Value c);
  Value clz(Value a);  // leading zeros of an i32; 32 of none
  Value exp2(Value a); // ex2.approx: 2 ulp, flushes denormals
  Value log2(Value a); // lg2.approx
  Value bitcast(Value a, Type type);
  /// `value`, in a way that no compiler knows: a loop of one known round is unrolled, and its loads sink to their uses.
  /// The grid of the launch must be 1 along z.
  Value opaque(int64_t value);

  // Who am I.
  Value threadId();             // x
  Value blockId(unsigned dim);  // 0..2
  Value lane();
  Value warp();

  // Memory. `index` counts elements (i32 or i64).
  Span at(Span span, Value index) { return {pointer(span, index), span.element}; }
  Value pointer(Span span, Value index);
  Value load(Span span, Value index, int64_t width = 1); // a scalar, or a vector of width elements, aligned to its bytes
  Value loadConstant(Span span, Value index, int64_t width = 1); // through the read-only path: nobody writes it in this launch
  /// `loadConstant` of 16 bytes that this launch reads once: they take no place in the L1 cache.
  Value loadOnce(Span span, Value index);
  Value loadAgain(Span span, Value index, int64_t width = 1); // every time, where it stands: no register keeps it
  void store(Value value, Span span, Value index);
  /// Shared memory of the block, zero cost; one allocation per call, outside control flow.
  Span shared(Type element, int64_t count, StringRef name = "tile");
  /// The dynamic shared memory of the launch, from byte `offset` on (a multiple of 16); its size is in the geometry.
  Span dynamicShared(Type element, int64_t offset);

  // Vectors.
  Value element(Value vector, int64_t i);
  Value splat(Value scalar, int64_t width);
  Value sumOf(Value vector); // a tree over the elements

  // Warp and block.
  Value shuffleXor(Value value, int64_t mask);
  Value shuffle(Value value, Value sourceLane);
  Value shuffleUp(Value value, int64_t distance); // from the lane `distance` below; lanes without one keep theirs
  /// Sum or maximum over groups of `width` neighbouring lanes; every lane gets it. The order is a fixed tree.
  Value warpSum(Value value, int64_t width = kWarp);
  Value warpMax(Value value, int64_t width = kWarp);
  /// Sum of an i32 over this lane and the lanes below.
  Value warpScan(Value value);
  Value ballot(Value condition); // i32, one bit per lane
  Value popCount(Value bits);
  enum class Extreme { LeastUnsigned, GreatestUnsigned };
  Value warpExtreme(Value value, Extreme extreme); // of an i32 over the warp
  /// Adds to an i32 in memory and returns what it was; relaxed.
  Value atomicAdd(Value value, Span span, Value index);
  void barrier();     // all threads of the block; orders shared memory
  void syncWarp();
  /// Waits until the launch before has finished and its writes are seen; first thing of every dependent kernel.
  void waitForLaunchBefore();
  /// Lets the next launch start its prologue.
  void allowNextLaunch();

  // Control.
  using Body = function_ref<SmallVector<Value>(Value iv, ValueRange carried)>;
  SmallVector<Value> loop(Value lower, Value upper, Value step, ValueRange init, Body body);
  void loop(Value lower, Value upper, Value step, function_ref<void(Value iv)> body);
  void ifThen(Value condition, function_ref<void()> then);
  SmallVector<Value> ifThenElse(Value condition, function_ref<SmallVector<Value>()> then,
                                function_ref<SmallVector<Value>()> otherwise);

  /// Repeats `body`, whose first value says whether to go on with the others as the next carried values; returns the
  /// others of the last time.
  SmallVector<Value> repeatWhile(ValueRange init, function_ref<SmallVector<Value>(ValueRange carried)> body);

  OpBuilder &b;
  Location loc;
  gpu::GPUModuleOp module;

private:
  bool dependentLaunch;
  unsigned sharedCount = 0;
};

} // namespace sparse::device

#endif
