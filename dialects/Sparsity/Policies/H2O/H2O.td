#ifndef SPARSE_POLICIES_H2O_TD
#define SPARSE_POLICIES_H2O_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_H2OAttr : Sparsity_Policy<"H2O", "h2o",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface,
       ["whyNot", "whyNotWith", "getHeads", "getFields", "needsMass", "getSlotFields", "buildStatistic"]>,
     DeclareAttrInterfaceMethods<Sparsity_KVPolicyInterface, ["getGrowth"]>]> {
  let summary = "H2O: heavy hitters by accumulated attention stay, beside the most recent keys";
  let description = [{
    Each slot accumulates the attention probability it receives, summed over the query heads of its KV head, in f32. A
    head above `heavy + recent` slots evicts the least of the slots outside the `recent` newest (arXiv 2306.14048,
    Algorithm 1). With `prefill = "dense"` the prompt is read densely, then cut: the
    algorithm of the paper. With `"chunked"` each chunk of the prompt attends to what is left, adds to the mass and is cut to
    the budget: a prompt never needs more than budget and chunk.

    With `over = L` a sequence of n tokens keeps `max(least, min(c, c * n / L))` slots of c = `heavy + recent`, and protects
    `max(1, min(recent, recent * n / L))` of them, rounded down: shares of the current length.

    `#sparsity.h2o<{heavy = 1024, recent = 1024, over = 0, least = 0, heads = array<i64>, prefill = "dense"}>`
  }];
}

#endif
