//===-- TensorData.h - TensorProto, checked and decoded -------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_TENSORDATA_H
#define SPARSE_LIB_IMPORT_TENSORDATA_H

#include "lib/Import/Import.h"
#include "lib/Import/Proto.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

namespace sparse::import {
/// What a TensorProto holds, after its fields were checked against each other.
struct TensorInfo {
  mlir::RankedTensorType type;
  uint64_t bytes = 0; ///< of the row-major little-endian data; a bool takes one byte
  bool external = false;
};

/// Checks type, shape and payload of `tensor`. Emits a diagnostic at `loc` and fails when they disagree, when the type
/// is not supported or a limit is exceeded. The file of an external tensor is not looked at.
mlir::FailureOr<TensorInfo> inspectTensor(const proto::TensorProto &tensor, const ImportLimits &limits,
                                          mlir::Location loc);

/// The data of an inspected tensor that is not external, row-major and little-endian. Fails with a diagnostic at `loc`
/// when an element of a narrow type is out of range.
mlir::FailureOr<std::string> payloadOf(const proto::TensorProto &tensor, const TensorInfo &info, mlir::Location loc);

/// The elements attribute of `bytes`, which hold exactly the data of `type`.
mlir::DenseElementsAttr elementsOf(mlir::RankedTensorType type, llvm::StringRef bytes);
} // namespace sparse::import

#endif
