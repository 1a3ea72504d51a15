#ifndef SPARSE_POLICIES_QUANTIZE_TD
#define SPARSE_POLICIES_QUANTIZE_TD

include "dialects/Sparsity/SparsityInterfaces.td"

def Sparsity_QuantizeAttr : Sparsity_Policy<"Quantize", "quantize",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface, ["whyNot", "whyNotWith", "getStorageType"]>]> {
  let summary = "keys and values as codes of eight bits with a scale for each slot and KV head";
  let description = [{
    The key of a slot x (f32, rotated) is kept as codes c and a scale s (f16): s = max |x| / 127 for `int8`, max |x| / 448
    for `fp8` (E4M3), at least 2^-14 and at most 65504, rounded to nearest; c = x / s, rounded to nearest, ties to even, at
    most 127 or 448 in magnitude. Readers see c * s. Values likewise, with a scale of their own. A slot that merges is
    coded anew; pages of a selection know the keys as readers see them.

    `#sparsity.quantize<{format = "int8"}>`
  }];
}

#endif
