//===-- WireScan.h - A look at the bytes before protobuf parses them ------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_WIRESCAN_H
#define SPARSE_LIB_IMPORT_WIRESCAN_H

#include "lib/Import/Import.h"
#include "lib/Import/Source.h"

namespace sparse::import {
/// Walks a serialized ModelProto and checks what protobuf's parser either accepts silently (a known field of the wrong
/// kind, names that are not UTF-8, a message given twice) or refuses without saying where, and the limits on counts and
/// depth, before any of it takes memory. Emits a diagnostic at the byte on failure.
mlir::LogicalResult scanModel(llvm::StringRef data, const Source &source, const ImportLimits &limits);
} // namespace sparse::import

#endif
