//===-- AttendBlock.h - States of online softmax, and how a block folds its warps' -----------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_ATTENDBLOCK_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_ATTENDBLOCK_H

#include "passes/ToGPU/DeviceKernel.h"

namespace sparse::device {

/// Score of a slot that may not be seen. Finite, so that differences of scores are never NaN.
inline constexpr double kHidden = -1e30;
/// Kernels keep scores as powers of two; memory has them as natural ones.
inline constexpr double kBinaryOfNatural = 1.4426950408889634, kNaturalOfBinary = 0.6931471805599453;

/// What queries are multiplied by for scores as powers of two; a softcap does the change of base itself.
inline double scoreFactor(double scale, double softcap) { return softcap == 0 ? scale * kBinaryOfNatural : scale; }
/// The score after the softcap (0: none), as a power of two.
Value capScore(Device &d, Value score, double softcap);

/// A top as memory has it, and back.
Value storedTop(Device &d, Value top);
Value loadedTop(Device &d, Value stored);

/// Folds states of one head with four channels into `carried` { top, sum, values }, in order; those that are not `there`
/// count nothing.
SmallVector<Value> foldStates(Device &d, ValueRange carried, ValueRange tops, ValueRange sums, ValueRange values,
                              ValueRange there);

/// shuffleXor of a scalar or of every element of a vector.
Value shuffleEach(Device &d, Value value, int64_t mask);

/// Online softmax of some query heads: largest score, sum of weights, weighted values.
struct AttendState {
  SmallVector<Value> top, sum, values;

  static AttendState empty(Device &d, int64_t heads, int64_t values, int64_t width);
  static AttendState unpack(ValueRange packed, int64_t heads);
  SmallVector<Value> pack() const;
};

/// The warps' states in shared memory, and their fold in the order of the warps.
struct AttendBlock {
  AttendBlock(DeviceKernel &k, int64_t heads, int64_t valueDim, int64_t warps);
  /// Warps whose states fit in 32 KiB.
  static int64_t warpsFor(int64_t heads, int64_t valueDim);

  void putValues(Value head, Value channel, Value values); // of this warp, a vector
  void putState(Value head, Value top, Value sum);
  /// After a barrier: `use` gets four folded channels (f32 vector) of one head at a time.
  void fold(function_ref<void(Value head, Value channel, Value top, Value sum, Value values)> use);

  Device &d;
  int64_t heads, valueDim, warps, threads;
  Span values, states;
};

} // namespace sparse::device

#endif
