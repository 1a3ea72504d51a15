//===-- OpsetForms.h - Operators as older opsets wrote them ---------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_OPSETFORMS_H
#define SPARSE_LIB_IMPORT_OPSETFORMS_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/SmallVector.h"

namespace sparse::import {
/// Operands and attributes of a node on the way to a typed op. A null operand is absent.
struct NodeForm {
  llvm::StringRef opType;
  llvm::SmallVector<mlir::Value> operands;
  mlir::NamedAttrList attributes;
};

/// Rewrites `form`, a node of the default domain at opset `version`, to the form of the newest opset, which the typed
/// ops have; `constant` makes an i64 vector constant. False when the meaning cannot be expressed by moving attributes.
bool adaptToNewestForm(NodeForm &form, int64_t version,
                       llvm::function_ref<mlir::Value(llvm::ArrayRef<int64_t>)> constant);
} // namespace sparse::import

#endif
