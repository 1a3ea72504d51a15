//===-- Attributes.h - AttributeProto to MLIR attributes ------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_ATTRIBUTES_H
#define SPARSE_LIB_IMPORT_ATTRIBUTES_H

#include "lib/Import/Import.h"
#include "lib/Import/Proto.h"

#include "mlir/IR/BuiltinAttributes.h"

namespace sparse::import {
/// Checks that `attribute` has a known type and holds a value of that type and nothing else. Emits at `loc`.
mlir::LogicalResult checkAttribute(const proto::AttributeProto &attribute, mlir::Location loc);

/// The attribute of a checked `attribute` whose value is not a reference: INT i64, FLOAT f32, STRING a string, lists as
/// dense arrays, tensors as dense elements. Graphs become the string "<graph>": an op with subgraphs that reaches this
/// point is not supported, and only reported later. Fails with a diagnostic at `loc`.
mlir::FailureOr<mlir::Attribute> convertAttribute(const proto::AttributeProto &attribute, const ImportLimits &limits,
                                                  mlir::Location loc);
} // namespace sparse::import

#endif
