#ifndef SPARSE_POLICIES_D2O_TD
#define SPARSE_POLICIES_D2O_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_D2OAttr : Sparsity_Policy<"D2O", "d2o",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface,
       ["whyNot", "whyNotWith", "getHeads", "getFields", "needsMass", "getSlotFields", "buildStatistic"]>,
     DeclareAttrInterfaceMethods<Sparsity_KVPolicyInterface, ["getGrowth"]>,
     DeclareAttrInterfaceMethods<Sparsity_SharedBudgetPolicyInterface>,
     DeclareAttrInterfaceMethods<Sparsity_MergePolicyInterface,
       ["mergesKeys", "getThresholdField", "buildThreshold", "getCounterField"]>]> {
  let summary = "D2O: evicted keys merge into the most similar ones that stay, or are lost";
  let description = [{
    Evicts as H2O does, with the first `sinks` tokens forced; they count among the `heavy`. An evicted slot e goes into the
    kept slot r of most similar key, s the cosine of the two, when s reaches a threshold; else it is lost. The threshold is one
    of a layer and a sequence: first the mean of the similarities of what a step evicts, then
    `alpha * threshold + beta * mean` (arXiv 2406.13035). With `mode = "code"` a kept slot becomes
    `(x_r + sum s_e x_e) / (1 + n)`, as in the authors' code; with `"convex"` `(x_r + sum s_e x_e) / (1 + sum s_e)` with
    s_e no less than 0. Without `merge_keys` values alone merge. `over` and `least` as for
    `#sparsity.h2o`, but never fewer slots than the sinks and the recent tokens need.

    With `budgets = "variance"` the layers share their budgets: a layer with attention that falls more evenly on the
    tokens of the first prompt gets more of them, by exp(-spread). The cap is the most that a layer can get, e times
    `heavy + recent`.

    `#sparsity.d2o<{heavy = 512, recent = 512, sinks = 4, budgets = "uniform", mode = "code", merge_keys = true,
    alpha = 0.5, beta = 0.5, over = 0, least = 0, prefill = "dense", heads = array<i64>}>`
  }];
}

#endif
