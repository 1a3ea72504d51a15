//===-- Sparsity.h - The sparsity dialect ----------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_DIALECTS_SPARSITY_SPARSITY_H
#define SPARSE_DIALECTS_SPARSITY_SPARSITY_H

#include "dialects/KVCache/KVCache.h"
#include "dialects/Sparsity/PolicySpec.h"
#include "mlir/IR/Builders.h"

#include "dialects/Sparsity/SparsityDialect.h.inc"
#include "dialects/Sparsity/SparsityEnums.h.inc"
#include "dialects/Sparsity/SparsityInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Sparsity/SparsityAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Sparsity/SparsityOps.h.inc"

namespace sparse::sparsity {
/// Names of the discardable attributes on `onnx` ops.
inline constexpr llvm::StringLiteral kSiteAttr = "sparsity.site";           // #sparsity.site
inline constexpr llvm::StringLiteral kSelectionAttr = "sparsity.selection"; // a SelectionPolicyInterface
inline constexpr llvm::StringLiteral kKVAttr = "sparsity.kv";               // array of KVPolicyInterface
/// Name of the discardable attribute on the module: the policy as applied, a policy file's text.
inline constexpr llvm::StringLiteral kPolicyAttr = "sparsity.policy";
} // namespace sparse::sparsity

#endif
