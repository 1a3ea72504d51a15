//===-- WeightData.h - Elements of small weights --------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_WEIGHTDATA_H
#define SPARSE_PASSES_RAISE_WEIGHTDATA_H

#include "passes/Raise/HostTensor.h"

#include "mlir/IR/Operation.h"

namespace sparse::raise {

/// The elements of the `onnx.initializer` `symbol`, from its value or its file; only the shape when they can't be read
/// or, unless `evenIfLarge`, when it is a matrix.
HostTensor readInitializer(mlir::Operation *symbol, bool evenIfLarge = false);

} // namespace sparse::raise

#endif
