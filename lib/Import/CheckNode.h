//===-- CheckNode.h - Nodes that can never run ----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_CHECKNODE_H
#define SPARSE_LIB_IMPORT_CHECKNODE_H

#include "mlir/IR/Operation.h"

namespace sparse::import {
/// Refuses a typed op whose constant operands break a rule of the operator whatever the other inputs are: two inferred
/// dimensions of a Reshape, a step of zero, an index beyond a weight. Emits a diagnostic at the op. Shapes that the
/// file only claims (value_info) are not trusted here.
mlir::LogicalResult checkNode(mlir::Operation *op);
} // namespace sparse::import

#endif
