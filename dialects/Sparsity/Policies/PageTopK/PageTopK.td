#ifndef SPARSE_POLICIES_PAGETOPK_TD
#define SPARSE_POLICIES_PAGETOPK_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_PageTopKAttr : Sparsity_Policy<"PageTopK", "page_topk",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface,
       ["whyNot", "whyNotWith", "getPageConstraint", "getFields", "buildFieldUpdate"]>,
     DeclareAttrInterfaceMethods<Sparsity_SelectionPolicyInterface, ["buildPageBudget", "getSinkPages", "getScoreParts"]>]> {
  let summary = "Quest: query-aware selection of pages by an upper bound of their scores";
  let description = [{
    Each page keeps the channel-wise minimum m and maximum M of its keys. A decode query reads the pages of greatest
    `u = sum_i max(q_i M_i, q_i m_i)`, an upper bound of every unscaled score in the page (arXiv 2406.10774 §3).

    With `over = L` a KV head that holds n tokens has `max(least, min(budget, budget * n / L))` tokens read, rounded down to
    whole pages, but always the sinks' pages and the current one: a share of what the head holds. Shapes are those of `budget`.

    `#sparsity.page_topk<{page = 16, budget = 2048, over = 0, least = 0, group = "max", per_query_head = false, sinks = 0}>`
  }];
}

#endif
