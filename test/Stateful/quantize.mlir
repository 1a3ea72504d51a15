// Pages of codes, scales for each slot; a compaction moves codes as they are, or numbers where something merges.
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 8 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 8 : i64}>, #sparsity.quantize<{format = "int8"}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=H2O
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.quantize<{format = "fp8"}>, #sparsity.d2o<{budgets = "uniform", heavy = 8 : i64, least = 0 : i64, over = 0 : i64, recent = 8 : i64, sinks = 4 : i64, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=D2O

// H2O: #layout = #kvcache.layout<{{.*}}type = f32, {{.*}}policies = [#h2o, #quantize], storage = i8>
// H2O-LABEL: func.func @maintain_compact
// H2O: kvcache.gather {{.*}} -> (tensor<2x16x16xi8>, tensor<2x16x16xi8>, tensor<2x16xi32>, tensor<2x16xf16>, tensor<2x16xf16>, tensor<2x16xf32>)

// D2O: #layout = #kvcache.layout<{{.*}}type = f32, {{.*}}storage = f8E4M3FN>
// D2O-LABEL: func.func @maintain_compact
// D2O: %[[G:.*]]:6 = kvcache.gather {{.*}} -> (tensor<2x16x16xf32>, tensor<2x16x16xf32>, tensor<2x16xi32>, tensor<2x16xf16>, tensor<2x16xf16>, tensor<2x16xf32>)
// D2O: %{{.*}}, %[[M:.*]]:2 = sparsity.merge_chosen {{.*}} -> (tensor<2x16xf32>, tensor<2x16x16xf32>, tensor<2x16x16xf32>)
// D2O: kvcache.place %{{.*}}, %{{.*}}, %{{.*}}, %[[M]]#1, %[[M]]#0, %[[G]]#2, %[[G]]#3, %[[G]]#4, %[[G]]#5
