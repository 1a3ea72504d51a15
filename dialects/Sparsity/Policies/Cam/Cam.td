#ifndef SPARSE_POLICIES_CAM_TD
#define SPARSE_POLICIES_CAM_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_CamAttr : Sparsity_Policy<"Cam", "cam",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface,
       ["whyNot", "whyNotWith", "getHeads", "getFields", "needsMass", "getSlotFields", "buildStatistic"]>,
     DeclareAttrInterfaceMethods<Sparsity_MergePolicyInterface,
       ["getTargetCount", "isRandom", "getSeed", "getCounterField"]>]> {
  let summary = "CaM: the value of an evicted key goes into the values of the keys that follow it";
  let description = [{
    Stands on a policy that evicts. An evicted slot i adds its value, over m, to the m kept slots that follow it by position,
    with probability `p = clamp(A_i / mean A, 0, 1)`, A the attention that slots have accumulated (with `attention = "step"`
    what they received in the last step) and the mean that over these slots (ICML 2024, PMLR 235:58840). With
    `mode = "expectation"` it adds p times that, always. Fewer than m slots share it evenly; without any the value is lost, as without CaM. Keys never merge.

    `#sparsity.cam<{attention = "gathered", followers = 32, mode = "bernoulli", seed = 0, heads = array<i64>}>`
  }];
}

#endif
