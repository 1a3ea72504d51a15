// All attributes of the dialect, the methods' included: one line here for each method.
#ifndef SPARSE_DIALECTS_SPARSITY_SPARSITYATTRS_TD
#define SPARSE_DIALECTS_SPARSITY_SPARSITYATTRS_TD

include "dialects/Sparsity/SparsityBase.td"
include "dialects/Sparsity/Policies/Cam/Cam.td"
include "dialects/Sparsity/Policies/D2O/D2O.td"
include "dialects/Sparsity/Policies/H2O/H2O.td"
include "dialects/Sparsity/Policies/PageTopK/PageTopK.td"
include "dialects/Sparsity/Policies/Quantize/Quantize.td"
include "dialects/Sparsity/Policies/Streaming/Streaming.td"

#endif
