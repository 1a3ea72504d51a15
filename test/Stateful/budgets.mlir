// Layers that share a budget: the most that a prompt can set is the cap of the layout, and an entry sets it.
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "uniform", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" | FileCheck %s --check-prefix=UNIFORM
// Never more than the context, whatever the parameters say; the heads of others keep their caps.
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64: 1>, heavy = 90 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>, #sparsity.streaming<{heads = array<i64: 0>, sinks = 4 : i64, window = 20 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2 max-context=256" | FileCheck %s --check-prefix=WIDE

// e times 16, rounded up.
// CHECK: #layout = #kvcache.layout<{{.*}}caps = [44, 44], prefill_cap = end, {{.*}}caps_of_prompt = true>
// CHECK-LABEL: func.func @maintain_budgets
// CHECK-SAME: %[[I:.*]]: tensor<1xi32> {plan.name = "sequences"}, %[[S:.*]]: !layer) -> !layer attributes {plan.kind = "maintain_budgets", plan.rows = 1 : i64}
// CHECK: %[[V:.*]] = sparsity.spread %[[S]], %[[I]] {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<2xf32>
// CHECK: %[[P:.*]] = sparsity.share_budget %[[V]] {policy = #d2o} : (tensor<2xf32>) -> tensor<1xf32>
// CHECK: %[[N:.*]] = sparsity.set_budget %[[S]], %[[I]], %[[P]] {policy = #d2o}
// CHECK: return %[[N]]
// CHECK-LABEL: func.func @maintain_compact
// CHECK: kvcache.choose {{.*}} -> (tensor<2x44xi32>, tensor<2xi32>

// UNIFORM-NOT: caps_of_prompt
// UNIFORM: caps = [16, 16]
// UNIFORM-NOT: maintain_budgets
// UNIFORM: maintain_compact

// WIDE: caps = [24, 256], prefill_cap = end, {{.*}}caps_of_prompt = true>
