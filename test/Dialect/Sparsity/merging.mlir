// RUN: sparse-opt %s | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --emit-bytecode | sparse-opt | FileCheck %s

// CHECK: #cam = #sparsity.cam<{attention = "gathered", followers = 3 : i64, heads = array<i64>, mode = "bernoulli", seed = 7 : i64}>
// What is evicted goes into what stays: in a step, and in a compaction.
!capped = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32,
    slotted = true, max_pages = 5, caps = [8, 8], prefill_cap = end, fields = [
      #kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
      #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>
    ], policies = []>>
#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
// CHECK-LABEL: func.func @merge
// CHECK-SAME: %[[S:.*]]: !layer, %[[I:.*]]: tensor<1xi32>
func.func @merge(%s: !capped, %i: tensor<1xi32>, %m: tensor<1x2x20xf32>, %kept: tensor<2xi32>, %k: tensor<2x8x16xf32>,
                 %p: tensor<2x8xi32>, %a: tensor<2x8xf32>) -> (!capped, tensor<2x8x16xf32>) {
  // CHECK: %[[R:.*]], %[[E:.*]] = kvcache.compress %[[S]], %{{.*}}, %[[I]], %[[I]], %[[I]] : {{.*}} -> (!layer, tensor<1x2xi32>)
  %r, %e = kvcache.compress %s, %m, %i, %i, %i : (!capped, tensor<1x2x20xf32>, tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> (!capped, tensor<1x2xi32>)
  // CHECK: %[[T:.*]], %[[W:.*]] = sparsity.match %[[R]], %[[E]], %[[I]] {layer = 5 : i64, policy = #cam}
  %t, %w = sparsity.match %r, %e, %i {layer = 5 : i64, policy = #cam} : (!capped, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x2x3xi32>, tensor<1x2xf32>)
  // CHECK: %[[N:.*]] = sparsity.merge %[[R]], %[[T]], %[[W]], %[[I]] {policy = #cam}
  %n = sparsity.merge %r, %t, %w, %i {policy = #cam} : (!capped, tensor<1x2x3xi32>, tensor<1x2xf32>, tensor<1xi32>) -> !capped
  // CHECK: %[[T2:.*]], %[[W2:.*]] = sparsity.match_chosen %[[N]], %[[I]], %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {layer = 5 : i64, policy = #cam}
  %t2, %w2 = sparsity.match_chosen %n, %i, %kept, %k, %k, %p, %a {layer = 5 : i64, policy = #cam} : (!capped, tensor<1xi32>, tensor<2xi32>, tensor<2x8x16xf32>, tensor<2x8x16xf32>, tensor<2x8xi32>, tensor<2x8xf32>) -> (tensor<2x20xi32>, tensor<2x20xf32>)
  // CHECK: sparsity.settle %[[N]], %[[I]], %{{.*}}, %[[T2]], %[[W2]] {policy = #cam}
  %n2 = sparsity.settle %n, %i, %kept, %t2, %w2 {policy = #cam} : (!capped, tensor<1xi32>, tensor<2xi32>, tensor<2x20xi32>, tensor<2x20xf32>) -> !capped
  // CHECK: sparsity.merge_chosen %{{.*}} {policy = #cam} : {{.*}} -> (tensor<2x8xf32>, tensor<2x8x16xf32>)
  %d, %v = sparsity.merge_chosen %n2, %i, %kept, %t2, %w2, %k, %k {policy = #cam} : (!capped, tensor<1xi32>, tensor<2xi32>, tensor<2x20xi32>, tensor<2x20xf32>, tensor<2x8x16xf32>, tensor<2x8x16xf32>) -> (tensor<2x8xf32>, tensor<2x8x16xf32>)
  return %n2, %v : !capped, tensor<2x8x16xf32>
}

// Likely victims are looked for while keys are read; the search for the victim's nearest key knows what was found.
!likely = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 5, caps = [8, 8], prefill_cap = end, fields = [
      #kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
      #kvcache.field<name = "likely", scope = head, type = i32, shape = [3], init = -1 : i32, content = false, counter = false>
    ], policies = []>>
#d2o = #sparsity.d2o<{heavy = 4, recent = 4, sinks = 0, budgets = "uniform", mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, over = 0, least = 0, prefill = "dense", heads = array<i64>}>
// CHECK-LABEL: func.func @nearest
func.func @nearest(%s: !likely, %i: tensor<1xi32>, %e: tensor<1x2xi32>) -> tensor<1x2x1xi32> {
  // CHECK: %[[P:.*]], %[[C:.*]], %[[L:.*]], %[[N:.*]] = sparsity.nearest_part %{{.*}}, %{{.*}} {segment = 0 : i64}
  %p, %c, %l, %n = sparsity.nearest_part %s, %i {segment = 0 : i64} : (!likely, tensor<1xi32>) -> (tensor<1x2x3xi32>, tensor<1x2x7x3xf32>, tensor<1x2x7x3xi32>, tensor<1x2x7x3xi32>)
  // CHECK: sparsity.match %{{.*}}, %{{.*}}, %{{.*}}, %[[P]], %[[C]], %[[L]], %[[N]] {layer = 0 : i64, policy = #d2o}
  %t, %w = sparsity.match %s, %e, %i, %p, %c, %l, %n {layer = 0 : i64, policy = #d2o} : (!likely, tensor<1x2xi32>, tensor<1xi32>, tensor<1x2x3xi32>, tensor<1x2x7x3xf32>, tensor<1x2x7x3xi32>, tensor<1x2x7x3xi32>) -> (tensor<1x2x1xi32>, tensor<1x2xf32>)
  return %t : tensor<1x2x1xi32>
}
