//===-- Threshold.h - The key from which on a block's keys are kept --------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_THRESHOLD_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_THRESHOLD_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// Finds the `need`-th greatest of the keys that a block's threads hold in registers, by histograms over ranges of keys
/// that shrink: the first covers the upper half of the scores, which has enough keys in all but odd cases. Bins are
/// counted, so nothing depends on the order in which threads arrive. Each warp reads the histogram for itself: that costs
/// less than the barriers of sharing the work.
class Threshold {
public:
  Threshold(Device &d, int64_t threads);

  static constexpr int64_t kNoKey = 0, kForcedKey = -1;

  /// Clears the memory; before the first barrier of the kernel.
  void prepare();
  struct Result {
    Value key;  // keys above are kept (unsigned order)
    Value ties; // of those equal to it, how many
  };
  /// `keys` are unsigned; kNoKey and kForcedKey take no part. `need` may be 0 or less: then nothing but forced keys is
  /// above the result. All threads get it. Contains barriers.
  Result find(ArrayRef<Value> keys, Value need);

private:
  static constexpr int64_t kLaneBits = 4, kBinBits = kLaneBits + 5, kBins = 1 << kBinBits, kMostCandidates = 64;

  static constexpr int64_t placeOfBin(int64_t bin) { return bin + 4 * (bin >> kLaneBits); }
  Value placeOfBin(Value bin) const;
  SmallVector<Value> findBin(Value need);
  Value rankCandidates(Value count, Value need, Value &ties);

  Device &d;
  int64_t threads;
  Span histogram, candidates, counter, extremes;
};

/// An f32 as an unsigned i32 of the same order, and back.
Value orderedKey(Device &d, Value score);
Value scoreOfKey(Device &d, Value key);

} // namespace sparse::device

#endif
