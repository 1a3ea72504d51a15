//===-- BlockFold.h - One value of all warps of a block --------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOGPU_TEMPLATES_BLOCKFOLD_H
#define SPARSE_PASSES_TOGPU_TEMPLATES_BLOCKFOLD_H

#include "passes/ToGPU/Device.h"

namespace sparse::device {

/// Folds what the warps of a block have, in their order.
class BlockFold {
public:
  /// Outside control flow.
  BlockFold(Device &d, Type element, int64_t warps, StringRef name);

  using Fold = function_ref<Value(Value, Value)>;
  /// By all threads together, which all get the result; `ofWarp` is the same in all lanes. Contains barriers.
  Value operator()(Value ofWarp, Fold fold);

private:
  Device &d;
  int64_t warps;
  Span values;
};

} // namespace sparse::device

#endif
