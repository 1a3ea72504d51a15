#ifndef SPARSE_DIALECTS_SPARSITY_SPARSITYOPS_TD
#define SPARSE_DIALECTS_SPARSITY_SPARSITYOPS_TD

include "dialects/KVCache/KVCacheBase.td"
include "dialects/Sparsity/SparsityBase.td"
include "dialects/Sparsity/SparsityInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Sparsity_Tensor : Type<CPred<"::llvm::isa<::mlir::RankedTensorType>($_self)">, "tensor">;

class Sparsity_Op<string mnemonic, list<Trait> traits = []> : Op<Sparsity_Dialect, mnemonic, traits> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Sparsity_EmbedOp : Sparsity_Op<"embed", [Pure]> {
  let summary = "rows of an embedding table that is packed like a linear layer's weight";
  let description = [{
    out[t, k] = table[id / panel, k, id % panel] in f32, so that a tied embedding has one copy of its bytes.
    `table` is [ceil(V / panel), K, panel], `ids` i32 [T], `out` f32 [T, K].
  }];
  let arguments = (ins Sparsity_Tensor:$table, Sparsity_Tensor:$ids);
  let results = (outs Sparsity_Tensor:$out);
}

def Sparsity_LinearOp : Sparsity_Op<"linear", [Pure]> {
  let summary = "a dense linear layer over packed weights";
  let description = [{
    out[t, n] = sum over k of x[t, k] * weight[n / panel, k, n % panel], added in ascending k, in f32. `weight` is
    [N / panel, K, panel] of f32 or bf16, `x` f32 [T, K].
  }];
  let arguments = (ins Sparsity_Tensor:$x, Sparsity_Tensor:$weight);
  let results = (outs Sparsity_Tensor:$out);
}

def Sparsity_ScoreOp : Sparsity_Op<"score", [Pure]> {
  let summary = "the score of every page for every row and selecting head";
  let description = [{
    score[t, h, p] = reduce over the query heads of h of sum over channels of the policy's term; f32 [T, Hs, max pages],
    with Hs the KV heads, or the query heads for a policy that selects per query head. Pages past the sequence's extent
    get -inf.

    ```mlir
    %u = sparsity.score %q, %state, %sequences {policy = #sparsity.page_topk<{…}>} : (…) -> tensor<1x3x512xf32>
    ```
  }];
  let arguments = (ins Sparsity_Tensor:$query, KVCache_LayerType:$state, Sparsity_Tensor:$sequences,
                       Sparsity_SelectionPolicyInterface:$policy);
  let results = (outs Sparsity_Tensor:$scores);
}

def Sparsity_SelectOp : Sparsity_Op<"select", [Pure]> {
  let summary = "the pages of highest score, ascending";
  let description = [{
    Keeps the page of the current token, the policy's sink pages and the best others until `page budget` pages are
    kept; ties go to the lower index. Everything when there are no more pages than that. `indices` i32 [T, Hs, budget],
    `count` i32 [T, Hs].
  }];
  let arguments = (ins Sparsity_Tensor:$scores, KVCache_LayerType:$state, Sparsity_Tensor:$sequences,
                       Sparsity_SelectionPolicyInterface:$policy);
  let results = (outs Sparsity_Tensor:$indices, Sparsity_Tensor:$count);
}

def Sparsity_AttendOp : Sparsity_Op<"attend", [Pure, AttrSizedOperandSegments]> {
  let summary = "softmax attention of each row over the slots of its cache, or of the selected pages";
  let description = [{
    out[t, h] = softmax(scale * q[t, h] · K) V over the slots with 0 <= position <= positions[t] that the layer's
    policies let the row see, read page by page in ascending order of the page list: the same folding for a dense and
    a selected list. `out` f32 [T, query heads * value_dim]; `lse` f32 [T, query heads] is the log of the softmax's
    denominator, for `sparsity.mass`. With `prefill` the rows belong to one sequence.
  }];
  let arguments = (ins Sparsity_Tensor:$query, KVCache_LayerType:$state, Sparsity_Tensor:$positions,
                       Sparsity_Tensor:$sequences, Optional<Sparsity_Tensor>:$indices, Optional<Sparsity_Tensor>:$count,
                       F32Attr:$scale, DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       DefaultValuedAttr<I64Attr, "-1">:$window, UnitAttr:$prefill);
  let results = (outs Sparsity_Tensor:$out, Sparsity_Tensor:$lse);
  let hasVerifier = 1;
}

def Sparsity_AttendPartOp : Sparsity_Op<"attend_part", [Pure, AttrSizedOperandSegments]> {
  let summary = "attention over one segment of every page list, not yet normalised";
  let description = [{
    Segment s of a list is its pages [s * segment, (s + 1) * segment); with `segment = 0` a list of n pages has segments
    of max(1, ceil(n / S)) pages. For each row, selecting head and segment: the
    weighted sum of values `out` f32 [T, Hs, S, G * value_dim], the largest score `top` and the sum of weights `sum` f32 [T,
    Hs, S, G], with G the query heads of a selecting head. Segments past the end of the list are unspecified. The
    segments depend on the list's length alone, never on the batch or the machine.

    For `sparsity.mass_of_scores`, a dense list may leave its `scores`, too: f32 [T, Hk, S, G, P], or [T, Hk, S, P, G] where
    keys lie slot by slot, with P the slots of the longest segment; entry p of segment s is the score of the p-th slot of the
    segment's pages, less than -5e29 for a slot that the row may not see. Entries past the end are unspecified.
  }];
  let arguments = (ins Sparsity_Tensor:$query, KVCache_LayerType:$state, Sparsity_Tensor:$positions,
                       Sparsity_Tensor:$sequences, Optional<Sparsity_Tensor>:$indices, Optional<Sparsity_Tensor>:$count,
                       I64Attr:$segment, F32Attr:$scale, DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       DefaultValuedAttr<I64Attr, "-1">:$window);
  let results = (outs Sparsity_Tensor:$out, Sparsity_Tensor:$top, Sparsity_Tensor:$sum,
                      Variadic<Sparsity_Tensor>:$scores);
  let extraClassDeclaration = [{
    /// Slots of the longest segment of a dense list of `pages` pages in `segments` segments.
    static int64_t slotsOfSegment(::sparse::kvcache::LayoutAttr layout, int64_t segment, int64_t segments);
  }];
}

def Sparsity_CombineOp : Sparsity_Op<"combine", [Pure]> {
  let summary = "the attention of whole lists from that of their segments, in ascending order";
  let arguments = (ins Sparsity_Tensor:$parts, Sparsity_Tensor:$tops, Sparsity_Tensor:$sums, KVCache_LayerType:$state,
                       Sparsity_Tensor:$positions, Sparsity_Tensor:$sequences, Optional<Sparsity_Tensor>:$count,
                       I64Attr:$segment);
  let results = (outs Sparsity_Tensor:$out, Sparsity_Tensor:$lse);
}

def Sparsity_MassOp : Sparsity_Op<"mass", [Pure, AttrSizedOperandSegments]> {
  let summary = "the attention probability that each slot received";
  let description = [{
    mass[b, g, s] = sum over the rows of sequence b and the query heads of KV head g of exp(scale * q · K[s] - lse), for
    visible (and selected) slots, 0 elsewhere; f32 [B, KV heads, max slots], B = T in decode, 1 with `prefill`. Inactive
    rows add nothing. The attention matrix never exists (H2O: column sums from the log-sum-exp).
  }];
  let arguments = (ins Sparsity_Tensor:$query, Sparsity_Tensor:$lse, KVCache_LayerType:$state,
                       Sparsity_Tensor:$positions, Sparsity_Tensor:$sequences, Sparsity_Tensor:$active,
                       Optional<Sparsity_Tensor>:$indices, Optional<Sparsity_Tensor>:$count, F32Attr:$scale,
                       DefaultValuedAttr<F32Attr, "0.0f">:$softcap, DefaultValuedAttr<I64Attr, "-1">:$window,
                       UnitAttr:$prefill);
  let results = (outs Sparsity_Tensor:$mass);
}

def Sparsity_MassOfScoresOp : Sparsity_Op<"mass_of_scores", [Pure]> {
  let summary = "the attention probability that each slot received, from scores that attention has left";
  let description = [{
    As `sparsity.mass` of decode rows over dense lists, without reading a key again: mass[b, g, s] = sum over the query heads
    of KV head g of exp(score - lse) for visible slots, 0 for others in use; what rows that aren't active and slots past the
    count get is not said. `scores` is of `sparsity.attend_part` with the same
    `segment`.

    ```mlir
    %parts, %tops, %sums, %scores = sparsity.attend_part %q, %state, %positions, %sequences {segment = 16 : i64, …} : …
    %out, %lse = sparsity.combine %parts, %tops, %sums, …
    %mass = sparsity.mass_of_scores %scores, %lse, %state, %positions, %sequences, %active {segment = 16 : i64} : …
    ```
  }];
  let arguments = (ins Sparsity_Tensor:$scores, Sparsity_Tensor:$lse, KVCache_LayerType:$state,
                       Sparsity_Tensor:$positions, Sparsity_Tensor:$sequences, Sparsity_Tensor:$active,
                       I64Attr:$segment);
  let results = (outs Sparsity_Tensor:$mass);
}

def Sparsity_NearestPartOp : Sparsity_Op<"nearest_part", [Pure]> {
  let summary = "the slots nearest to likely victims, segment by segment of the pages in use";
  let description = [{
    A step reads its keys for attention before it knows its victim. The field `likely` names slots that may well become it;
    this op, which shares a kernel with `sparsity.attend_part`, finds what each of them would merge into. `probed` (i32
    [T, KV heads, P]) is the slot, -1 where the field names none that is live. For each segment of the dense list (as of
    `sparsity.attend_part` with the same `segment`) the live slot of most similar key but itself: `cosine` f32 and `position`,
    `slot` i32 [T, KV heads, S, P]; ties: the older; slot -1 and cosine -inf where there is none.

    ```mlir
    %parts, %tops, %sums = sparsity.attend_part %q, %s1, %positions, %sequences {segment = 0 : i64, …} : …
    %probed, %cosine, %position, %slot = sparsity.nearest_part %s1, %sequences {segment = 0 : i64} : …
    %s2, %evicted = kvcache.compress %s1, …
    %targets, %share = sparsity.match %s2, %evicted, %sequences, %probed, %cosine, %position, %slot {…} : …
    ```
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$sequences, I64Attr:$segment);
  let results = (outs Sparsity_Tensor:$probed, Sparsity_Tensor:$cosine, Sparsity_Tensor:$position,
                      Sparsity_Tensor:$slot);
  let hasVerifier = 1;
}

def Sparsity_MatchOp : Sparsity_Op<"match", [Pure]> {
  let summary = "which slots the victim of each row and head goes into, and its share";
  let description = [{
    `evicted` (i32 [B, KV heads]) is what `kvcache.compress` evicted. `targets` (i32 [B, KV heads, m]) are slots that stay,
    -1 past the last and where nothing was evicted or the policy does not govern the head: by position in ascending order,
    or the one of most similar key (cosine; ties: the older). `share` f32 [B, KV heads]. `layer` counts in the source
    model; only random policies read it. `nearest` may be the results of `sparsity.nearest_part`: a victim among those
    `probed` needs no search.
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$evicted, Sparsity_Tensor:$sequences,
                       Variadic<Sparsity_Tensor>:$nearest, Sparsity_MergePolicyInterface:$policy, I64Attr:$layer);
  let results = (outs Sparsity_Tensor:$targets, Sparsity_Tensor:$share);
  let hasVerifier = 1;
}

def Sparsity_MergeOp : Sparsity_Op<"merge", [Pure, AllTypesMatch<["state", "result"]>]> {
  let summary = "the state with the victims of a decode step merged into their targets";
  let description = [{
    Updates the policy's threshold from the shares of all heads, then merges (`MergePolicyInterface`), counts, and widens the
    content fields of pages whose keys changed.
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$targets, Sparsity_Tensor:$share,
                       Sparsity_Tensor:$sequences, Sparsity_MergePolicyInterface:$policy);
  let results = (outs KVCache_LayerType:$result);
  let hasVerifier = 1;
}

def Sparsity_MatchChosenOp : Sparsity_Op<"match_chosen", [Pure]> {
  let summary = "which kept slots each slot that a compaction evicts goes into, and its share";
  let description = [{
    `slots` are the copies of `kvcache.gather`: keys, values, positions, slot fields. `target` (i32 [KV heads, slots]) is the
    index among the kept ones of the first target of each slot, -1 for slots that stay, are free, or have none; `share` f32
    likewise. The targets of a slot follow each other.
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$sequences, Sparsity_Tensor:$kept,
                       Variadic<Sparsity_Tensor>:$slots, Sparsity_MergePolicyInterface:$policy, I64Attr:$layer);
  let results = (outs Sparsity_Tensor:$target, Sparsity_Tensor:$share);
  let hasVerifier = 1;
}

def Sparsity_SettleOp : Sparsity_Op<"settle", [Pure, AllTypesMatch<["state", "result"]>]> {
  let summary = "the state with a merging policy's threshold and counters as a compaction leaves them";
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$sequences, Sparsity_Tensor:$kept,
                       Sparsity_Tensor:$target, Sparsity_Tensor:$share, Sparsity_MergePolicyInterface:$policy);
  let results = (outs KVCache_LayerType:$result);
  let hasVerifier = 1;
}

def Sparsity_MergeChosenOp : Sparsity_Op<"merge_chosen", [Pure]> {
  let summary = "copies of the kept slots with the evicted ones merged into them";
  let description = [{
    `merged` are new copies of the values and, for a policy that merges keys, of the keys. `parts` is what the merges add to
    each kept slot's divisor, or their number where nothing divides; 0 where none went.
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$sequences, Sparsity_Tensor:$kept,
                       Sparsity_Tensor:$target, Sparsity_Tensor:$share, Sparsity_Tensor:$key, Sparsity_Tensor:$value,
                       Sparsity_MergePolicyInterface:$policy);
  let results = (outs Sparsity_Tensor:$parts, Variadic<Sparsity_Tensor>:$merged);
  let hasVerifier = 1;
}

def Sparsity_SpreadOp : Sparsity_Op<"spread", [Pure]> {
  let summary = "how unevenly attention fell on the tokens of one sequence, in every head";
  let description = [{
    `variances` (f32 [KV heads]) is the unbiased variance of the policy's spread field over the live slots of each head
    that the policy governs, 0 for fewer than two slots; -1 for the other heads.

    ```mlir
    %v = sparsity.spread %state, %sequences {policy = #d2o} : (!kvcache.layer<…>, tensor<1xi32>) -> tensor<2xf32>
    ```
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$sequences,
                       Sparsity_SharedBudgetPolicyInterface:$policy);
  let results = (outs Sparsity_Tensor:$variances);
  let hasVerifier = 1;
}

def Sparsity_ShareBudgetOp : Sparsity_Op<"share_budget", [Pure]> {
  let summary = "how much each of the layers gets of the budget that they share";
  let description = [{
    Takes the results of `sparsity.spread` of all layers that share, and gives for each its share (f32 [1]), in the same
    order; the mean of the shares is 1. The spread of a layer is the mean over its governed heads (variance >= 0) of
    `(variance - least) / (greatest - least + 1e-6)`, least and greatest over the same heads. Shares are
    `L * softmax(logit)`, the logit by the policy, whose parameters it may not depend on.

    ```mlir
    %a, %b = sparsity.share_budget %v, %w {policy = #d2o} : (tensor<2xf32>, …) -> (tensor<1xf32>, tensor<1xf32>)
    ```
  }];
  let arguments = (ins Variadic<Sparsity_Tensor>:$variances, Sparsity_SharedBudgetPolicyInterface:$policy);
  let results = (outs Variadic<Sparsity_Tensor>:$shares);
  let extraClassDeclaration = [{
    /// What keeps the scaled variances of equal heads numbers.
    static constexpr double kLeastRange = 1e-6;
  }];
  let hasVerifier = 1;
}

def Sparsity_SetBudgetOp : Sparsity_Op<"set_budget", [Pure, AllTypesMatch<["state", "result"]>]> {
  let summary = "the state with the budget of one sequence's heads that a share of all layers' budget is";
  let description = [{
    Writes the component `budget` (`caps_of_prompt` of the layout) of all heads that the policy governs: what the policy
    makes of the share (f32 [1]) and the length of the sequence, no more than the layout's cap. Other heads keep theirs.

    ```mlir
    %s1 = sparsity.set_budget %s0, %sequences, %share {policy = #d2o} : (!kvcache.layer<…>, …) -> !kvcache.layer<…>
    ```
  }];
  let arguments = (ins KVCache_LayerType:$state, Sparsity_Tensor:$sequences, Sparsity_Tensor:$share,
                       Sparsity_SharedBudgetPolicyInterface:$policy);
  let results = (outs KVCache_LayerType:$result);
  let hasVerifier = 1;
}

def Sparsity_SampleOp : Sparsity_Op<"sample", [Pure]> {
  let summary = "the next token of every row, and the inputs of the step that appends it";
  let description = [{
    For B rows over V logits; every parameter is a tensor, so one entry serves all requests:

    | operand | type | meaning |
    |---|---|---|
    | `logits` | f32 [B, V] | |
    | `ids`, `positions`, `active` | i32 [B] | the inputs of the step that computed `logits` |
    | `temperature` | f32 [B] | 0: greedy |
    | `top_k` | i32 [B] | draws among the k best tokens; 0 or less, or V and more: off |
    | `top_p` | f32 [B] | draws among the best tokens that have this share of the mass; 1 and more: off |
    | `seeds`, `counters` | i64 [B] | unsigned; what a draw depends on |
    | `stops` | i32 [B, S] | tokens that end a row; -1 is none |

    A row with `active = 0`, or with a logit that is no number, has no token: `tokens = -1`, and its next `active` is 0.
    Else `tokens` is its token, and the results that follow in place are those of the next step: `new_ids` the token,
    `new_active` 0 if the token is one of `stops`. `new_positions` is `positions + 1` for a row that goes on;
    `new_counters` is `counters + 1`. All other entries keep their values.

    **The token.** Tokens are ordered by logit, greater ones first, equal ones (-0 equals 0) by their index. With
    `temperature = 0`, or when the first one's logit is infinite, it is the first one. Otherwise all is exact integer
    arithmetic on the mass of tokens, so that no order of additions matters:

    1. `s = log2e * min(max(1 / temperature, 2^-64), 2^64)` in f32, `d = max((logit - best) * s, -41)` in f32, `q =
       trunc(d * -2^20)` as an integer, `n = q / 2^20`, `f = q mod 2^20`. The mass is `(2^9 * e(f)) >> n`, unsigned 64 bits,
       with `e(f)` = 2^31 * 2^(-f / 2^20) by the polynomial of `SampleMass.h`: 2^40 for the first token, 0 below 2^-40 of it.
    2. `top_k` keeps the first k tokens. Let M be their mass. `top_p` keeps the shortest start of them whose mass reaches
       `max(1, (M >> 24) * P + ((M mod 2^24) * P >> 24))` with `P = trunc(top_p * 2^24)`. Let M be the mass of what is kept.
    3. `R` is the upper half of `mix(mix(seed) ^ counter)`, `mix` one step of SplitMix64. The token is the one of lowest
       index with which the mass of kept tokens, added up by index, exceeds `(M >> 32) * R + ((M mod 2^32) * R >> 32)`.

    The sampler of the runtime (`runtime/Sampler.h`) does the same, bit for bit.
  }];
  let arguments = (ins Sparsity_Tensor:$logits, Sparsity_Tensor:$ids, Sparsity_Tensor:$positions,
                       Sparsity_Tensor:$active, Sparsity_Tensor:$temperature, Sparsity_Tensor:$top_k,
                       Sparsity_Tensor:$top_p, Sparsity_Tensor:$seeds, Sparsity_Tensor:$counters,
                       Sparsity_Tensor:$stops);
  let results = (outs Sparsity_Tensor:$tokens, Sparsity_Tensor:$new_ids, Sparsity_Tensor:$new_positions,
                      Sparsity_Tensor:$new_active, Sparsity_Tensor:$new_counters);
  let extraClassDeclaration = [{
    /// The operand that a result is the new content of; null for `tokens`.
    ::mlir::Value getTied(::mlir::Value result);
  }];
  let hasVerifier = 1;
}

#endif
