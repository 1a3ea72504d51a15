// RUN: sparse-opt %s | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --emit-bytecode | sparse-opt | FileCheck %s

// Layers share a budget: what each of them looks like, what they get, and what becomes of it.
// CHECK: #kvcache.layout<{{.*}}caps = [44, 44], prefill_cap = end, {{.*}}caps_of_prompt = true>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
// CHECK-LABEL: func.func @share
// CHECK-SAME: %[[A:.*]]: !layer, %[[B:.*]]: !layer, %[[I:.*]]: tensor<1xi32>
func.func @share(%a: !layer, %b: !layer, %i: tensor<1xi32>) -> (!layer, !layer) {
  // CHECK: %[[V:.*]] = sparsity.spread %[[A]], %[[I]] {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<2xf32>
  %v = sparsity.spread %a, %i {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<2xf32>
  // CHECK: %[[W:.*]] = sparsity.spread %[[B]], %[[I]]
  %w = sparsity.spread %b, %i {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<2xf32>
  // CHECK: %[[S:.*]]:2 = sparsity.share_budget %[[V]], %[[W]] {policy = #d2o} : (tensor<2xf32>, tensor<2xf32>) -> (tensor<1xf32>, tensor<1xf32>)
  %s, %t = sparsity.share_budget %v, %w {policy = #d2o} : (tensor<2xf32>, tensor<2xf32>) -> (tensor<1xf32>, tensor<1xf32>)
  // CHECK: sparsity.set_budget %[[A]], %[[I]], %[[S]]#0 {policy = #d2o} : (!layer, tensor<1xi32>, tensor<1xf32>) -> !layer
  %c = sparsity.set_budget %a, %i, %s {policy = #d2o} : (!layer, tensor<1xi32>, tensor<1xf32>) -> !layer
  // CHECK: sparsity.set_budget %[[B]], %[[I]], %[[S]]#1
  %d = sparsity.set_budget %b, %i, %t {policy = #d2o} : (!layer, tensor<1xi32>, tensor<1xf32>) -> !layer
  return %c, %d : !layer, !layer
}
