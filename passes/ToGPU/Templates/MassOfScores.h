//===-- MassOfScores.h - What slots receive, from scores that attention has left --------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_MASSOFSCORES_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_MASSOFSCORES_H

#include "passes/ToGPU/Templates/PageList.h"

namespace sparse::device {

/// The mass of single slots of one row and KV head. i32.
class ScoreMass {
public:
  ScoreMass(DeviceKernel &k, sparsity::MassOfScoresOp op, Value row, Value head);
  /// Whether attention has left scores of the slot's page.
  Value isListed(Value slot);
  /// The sum over the query heads (f32), of a listed slot.
  Value of(Value slot);

private:
  DeviceKernel &k;
  Device &d;
  Buffer &scores;
  kvcache::LayoutAttr layout;
  Value row, head, pages, length;
  SmallVector<Value> shifts; // of each query head
};

} // namespace sparse::device

#endif
