//===-- Types.h - ONNX types to MLIR types --------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_TYPES_H
#define SPARSE_LIB_IMPORT_TYPES_H

#include "lib/Import/Import.h"
#include "lib/Import/Proto.h"

#include "mlir/IR/BuiltinTypes.h"

namespace sparse::import {
/// The name of a TensorProto.DataType in the ONNX specification, or "unknown".
llvm::StringRef nameOfDataType(int32_t dataType);

/// The tensor type that `type` describes: unranked without a shape, `?` for symbolic, absent and negative dimensions.
/// Null when it is no tensor, has no supported element type, or exceeds a limit; `why` then says so.
mlir::TensorType tensorTypeOf(const proto::TypeProto &type, const ImportLimits &limits, mlir::MLIRContext *context,
                              std::string &why);
} // namespace sparse::import

#endif
