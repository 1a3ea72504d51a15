#ifndef SPARSE_POLICIES_STREAMING_TD
#define SPARSE_POLICIES_STREAMING_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_StreamingAttr : Sparsity_Policy<"Streaming", "streaming",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface, ["whyNot", "whyNotWith", "getHeads"]>,
     DeclareAttrInterfaceMethods<Sparsity_KVPolicyInterface, ["mayCompactLater", "buildVisible"]>]> {
  let summary = "attention sinks and a window: the first and the most recent keys stay";
  let description = [{
    A query at position p sees position j when j < sinks or p - j < window (arXiv 2309.17453). Keys keep the rotation of
    their own positions, as in DuoAttention's streaming heads (arXiv 2410.10819).

    `#sparsity.streaming<{sinks = 4, window = 512, heads = array<i64>}>`
  }];
}

#endif
