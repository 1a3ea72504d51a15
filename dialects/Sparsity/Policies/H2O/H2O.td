#ifndef SPARSE_POLICIES_H2O_TD
#define SPARSE_POLICIES_H2O_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_H2OAttr : Sparsity_Policy<"H2O", "h2o",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface, ["whyNot", "whyNotWith", "getFields"]>,
     DeclareAttrInterfaceMethods<Sparsity_KVPolicyInterface, ["needsMass", "getSlotFields", "buildStatistic"]>]> {
  let summary = "H2O: heavy hitters by accumulated attention stay, beside the most recent keys";
  let description = [{
    Each slot accumulates the attention probability it receives, summed over the query heads of its KV head, in f32. A
    head above `heavy + recent` slots evicts the least of the slots outside the `recent` newest (arXiv 2306.14048,
    Algorithm 1). The prompt is read densely, then cut (`prefill: dense`).

    `#sparsity.h2o<{heavy = 1024, recent = 1024, heads = array<i64>, prefill = "dense"}>`
  }];
}

#endif
