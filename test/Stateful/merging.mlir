// What is evicted goes into what stays: after compress in a step, between gather and place in a compaction.
// RUN: sed 's/ POLICY/, sparsity.site = #sparsity.site<layer = 7, part = attention>, sparsity.kv = [#sparsity.streaming<{heads = array<i64>, sinks = 4 : i64, window = 20 : i64}>, #sparsity.cam<{attention = "gathered", followers = 6 : i64, mode = "bernoulli", seed = 3 : i64, heads = array<i64>}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=CAM
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 8 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 8 : i64}>, #sparsity.cam<{attention = "gathered", followers = 6 : i64, mode = "bernoulli", seed = 3 : i64, heads = array<i64>}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=SHARED
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.d2o<{budgets = "uniform", heavy = 8 : i64, least = 0 : i64, over = 0 : i64, recent = 8 : i64, sinks = 4 : i64, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=D2O

// The cap is the eviction's; the mass is there for the merge's sake.
// CAM: #layout = #kvcache.layout<{{.*}}caps = [24, 24], prefill_cap = chunk, fields = [#kvcache.field<name = "mass"{{.*}}#kvcache.field<name = "merged", scope = head, type = i32{{.*}}counter = true
// CAM-LABEL: func.func @prefill
// CAM: sparsity.mass
// CAM: kvcache.compress {{.*}} {prefill} : {{.*}} -> !layer
// CAM-NOT: sparsity.merge
// CAM-LABEL: func.func @decode_b2
// CAM: %[[S:.*]], %[[E:.*]] = kvcache.compress {{.*}} -> (!layer, tensor<2x2xi32>)
// CAM: %[[T:.*]], %[[W:.*]] = sparsity.match %[[S]], %[[E]], %{{.*}} {layer = 7 : i64, policy = #cam} : {{.*}} -> (tensor<2x2x6xi32>, tensor<2x2xf32>)
// CAM: sparsity.merge %[[S]], %[[T]], %[[W]], %{{.*}} {policy = #cam}
// CAM-LABEL: func.func @maintain_compact
// CAM: %[[O:.*]], %[[K:.*]], %{{.*}} = kvcache.choose
// CAM: %[[G:.*]]:4 = kvcache.gather
// CAM: %[[T:.*]], %[[W:.*]] = sparsity.match_chosen %{{.*}}, %{{.*}}, %[[K]], %[[G]]#0, %[[G]]#1, %[[G]]#2, %[[G]]#3
// CAM: %[[S:.*]] = sparsity.settle %{{.*}}, %{{.*}}, %[[K]], %[[T]], %[[W]]
// CAM: %{{.*}}, %[[M:.*]] = sparsity.merge_chosen %[[S]], %{{.*}}, %[[K]], %[[T]], %[[W]], %[[G]]#0, %[[G]]#1
// CAM: kvcache.place %[[S]], %{{.*}}, %[[K]], %[[G]]#0, %[[M]], %[[G]]#2, %[[G]]#3

// Two methods name one field: there is one.
// SHARED: fields = [#kvcache.field<name = "mass"
// SHARED-NOT: name = "mass"
// SHARED-SAME: name = "merged"
// SHARED-SAME: policies = [#h2o, #cam]

// One method that evicts and merges; a threshold beside the counter, one target a victim, keys that merge too.
// D2O: fields = [#kvcache.field<name = "mass"{{.*}}#kvcache.field<name = "threshold", scope = head, type = f32, shape = [], init = 0xFF800000 : f32
// D2O-LABEL: func.func @decode_b2
// D2O: sparsity.match {{.*}} -> (tensor<2x2x1xi32>, tensor<2x2xf32>)
// D2O: sparsity.merge
// D2O-LABEL: func.func @maintain_compact
// D2O: %[[G:.*]]:4 = kvcache.gather
// D2O: %{{.*}}, %[[M:.*]]:2 = sparsity.merge_chosen
// D2O: kvcache.place %{{.*}}, %{{.*}}, %{{.*}}, %[[M]]#1, %[[M]]#0, %[[G]]#2, %[[G]]#3
