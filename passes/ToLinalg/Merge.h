//===-- Merge.h - What steps and compactions share when they merge --------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOLINALG_MERGE_H
#define SPARSE_PASSES_TOLINALG_MERGE_H

#include "passes/ToLinalg/Lowering.h"

namespace sparse::lowering::merging {
using sparsity::MergePolicyInterface;
using sparsity::MergeTargets;

/// The random number for an evicted slot; null for a policy that draws none.
Value drawFor(Emitter &e, MergePolicyInterface policy, int64_t layer, Value head, Value position);
/// `value` or the least norm.
Value norm(Emitter &e, Value squares);
/// An i32 as an f32.
Value toFloat(Emitter &e, Value count);
/// Whether the policy acts on a head; constant true for all.
Value governs(Emitter &e, MergePolicyInterface policy, Value head);
/// What a share means for each of `count` targets in a head.
sparsity::MergeWeights weightsOf(Emitter &e, LayerState &state, MergePolicyInterface policy, Value sequence, Value head,
                                 Value share, Value count);
/// The new value of a channel: (old + added) / (1 + part).
Value blended(Emitter &e, Value old, Value added, Value part);
/// The head's counter goes up by one where `merged` (i1).
void countMerge(Emitter &e, LayerState &state, MergePolicyInterface policy, Value sequence, Value head, Value merged);
/// Cosines of unit rows f32 [n, dk] and the keys [dk, page] of a page, f32 [n, page].
Value cosines(Emitter &e, Value rows, Value keys);
/// The keys [dk, page] of a physical page.
Value keysOfPage(Emitter &e, LayerState &state, Value physical);
/// The new threshold of every head that the policy governs, from the shares of what this step evicted.
void updateThreshold(Emitter &e, LayerState &state, MergePolicyInterface policy, Value sequence, Value sum,
                     Value count);

/// Norms below count as this: the cosine of a zero key is 0.
inline constexpr double kLeastNorm = 1e-6;

} // namespace sparse::lowering::merging

#endif
