//===-- KVCache.h - The kvcache dialect ------------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_DIALECTS_KVCACHE_KVCACHE_H
#define SPARSE_DIALECTS_KVCACHE_KVCACHE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/KVCache/KVCacheDialect.h.inc"
#include "dialects/KVCache/KVCacheEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/KVCache/KVCacheAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/KVCache/KVCacheTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/KVCache/KVCacheOps.h.inc"

namespace sparse::kvcache {
/// The field that names slots which will probably be evicted next.
inline constexpr llvm::StringLiteral kLikelyField = "likely";
} // namespace sparse::kvcache

#endif
