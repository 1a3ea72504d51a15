//===-- Policies.h - Helpers for the methods' implementations --------------------------------------------*- C++ -*-===//
#ifndef SPARSE_DIALECTS_SPARSITY_POLICIES_POLICIES_H
#define SPARSE_DIALECTS_SPARSITY_POLICIES_POLICIES_H

#include "dialects/Sparsity/Sparsity.h"
#include "llvm/Support/FormatVariadic.h"

namespace sparse::sparsity {
/// Verifies that `params` are exactly the parameters of `spec`, with legal values.
mlir::LogicalResult verifyParams(llvm::function_ref<mlir::InFlightDiagnostic()> emitError, const PolicySpec &spec,
                                 mlir::DictionaryAttr params);
/// An i32 constant.
mlir::Value i32Constant(mlir::OpBuilder &b, mlir::Location loc, int64_t value);
/// An f32 constant.
mlir::Value f32Constant(mlir::OpBuilder &b, mlir::Location loc, double value);
/// A budget of at most `most` slots as i32 when the newest token is at position `newest` (i32); docs/architecture.md §6.
mlir::Value budgetAt(mlir::OpBuilder &b, mlir::Location loc, int64_t most, BudgetGrowth growth, mlir::Value newest);
/// The same for `length` tokens (i32), not the position of the newest.
mlir::Value budgetOf(mlir::OpBuilder &b, mlir::Location loc, int64_t most, BudgetGrowth growth, mlir::Value length);
/// Why a budget of `most` slots can't grow so; empty when it can.
std::string whyNotGrowth(BudgetGrowth growth, int64_t most);
/// Why `heads` does not name KV heads of the layer; empty when it does.
std::string whyNotHeads(llvm::ArrayRef<int64_t> heads, const LayerFacts &facts);
/// Why two policies can't both evict from the same heads; empty when they govern different ones.
std::string whyNotSameHeads(KVPolicyInterface one, mlir::Attribute other);
/// Why two policies can't both merge what the same heads evict; empty when they can stand beside each other.
std::string whyNotSameHeads(MergePolicyInterface one, mlir::Attribute other);
/// A slot field of attention; that of all that was accumulated, which policies share, by default.
kvcache::FieldAttr massField(mlir::MLIRContext *context, llvm::StringRef name = "mass");
/// A counter of a policy: an i32 per head.
kvcache::FieldAttr counterField(mlir::MLIRContext *context, llvm::StringRef name);
} // namespace sparse::sparsity

#endif
