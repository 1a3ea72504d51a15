#ifndef SPARSE_POLICIES_PAGETOPK_TD
#define SPARSE_POLICIES_PAGETOPK_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_PageTopKAttr : Sparsity_Policy<"PageTopK", "page_topk",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface,
       ["whyNot", "whyNotWith", "getPageConstraint", "getFields", "buildFieldUpdate"]>,
     DeclareAttrInterfaceMethods<Sparsity_SelectionPolicyInterface, ["getSinkPages", "getScoreParts"]>]> {
  let summary = "Quest: query-aware selection of pages by an upper bound of their scores";
  let description = [{
    Each page keeps the channel-wise minimum m and maximum M of its keys. A decode query reads the pages of greatest
    `u = sum_i max(q_i M_i, q_i m_i)`, an upper bound of every unscaled score in the page (arXiv 2406.10774 §3).

    `#sparsity.page_topk<{page = 16, budget = 2048, group = "max", per_query_head = false, sinks = 0}>`
  }];
}

#endif
