//===-- CheckRaised.h - What is not in canonical form ---------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_CHECKRAISED_H
#define SPARSE_PASSES_RAISE_CHECKRAISED_H

#include "mlir/IR/Operation.h"

#include <optional>
#include <string>

namespace sparse::raise {
/// Nothing when `op` has canonical form (docs/architecture.md §2); else what is wrong with it, or an empty text when
/// the op has no place there at all.
std::optional<std::string> whyNotCanonical(mlir::Operation *op);
/// The ONNX operator type of `op`.
llvm::StringRef onnxTypeOf(mlir::Operation *op);
} // namespace sparse::raise

#endif
