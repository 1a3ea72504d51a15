// What is evicted goes into what stays: after compress in a step, between gather and place in a compaction.
// RUN: sed 's/ POLICY/, sparsity.site = #sparsity.site<layer = 7, part = attention>, sparsity.kv = [#sparsity.streaming<{heads = array<i64>, sinks = 4 : i64, window = 20 : i64}>, #sparsity.cam<{followers = 6 : i64, mode = "bernoulli", seed = 3 : i64, heads = array<i64>}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=CAM
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 8 : i64, prefill = "dense", recent = 8 : i64}>, #sparsity.cam<{followers = 6 : i64, mode = "bernoulli", seed = 3 : i64, heads = array<i64>}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=SHARED

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
// CAM: %{{.*}}, %[[M:.*]]:2 = sparsity.merge_chosen %[[S]], %{{.*}}, %[[K]], %[[T]], %[[W]], %[[G]]#0, %[[G]]#1
// CAM: kvcache.place %[[S]], %{{.*}}, %[[K]], %[[G]]#0, %[[M]]#1, %[[G]]#2, %[[G]]#3

// Two methods name one field: there is one.
// SHARED: fields = [#kvcache.field<name = "mass"
// SHARED-NOT: name = "mass"
// SHARED-SAME: name = "merged"
// SHARED-SAME: policies = [#h2o, #cam]
