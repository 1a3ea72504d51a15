//===-- GraphOrder.h - Names and order of the nodes of a graph ------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_GRAPHORDER_H
#define SPARSE_LIB_IMPORT_GRAPHORDER_H

#include "lib/Import/Proto.h"

#include "mlir/IR/Location.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

namespace sparse::import {
/// What `orderNodes` has to know about the scope around the nodes.
struct OrderContext {
  /// Whether nodes may read this name without one of them producing it.
  llvm::function_ref<bool(llvm::StringRef)> visible;
  /// Whether the name already stands for an input or an initializer of the same graph.
  llvm::function_ref<bool(llvm::StringRef)> taken;
  llvm::function_ref<mlir::Location(int)> location;
};

/// An order of `nodes` in which every value is produced before it is read; the given order when it has this property.
/// Emits a diagnostic at the node and fails when a name is produced twice or never, or when nodes form a cycle.
mlir::FailureOr<llvm::SmallVector<int>>
orderNodes(const google::protobuf::RepeatedPtrField<proto::NodeProto> &nodes, const OrderContext &context);
} // namespace sparse::import

#endif
