// The budgets of layers on a GPU: a block for each head adds up what its slots received; steps and compactions keep to them.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx
// RUN: FileCheck %s --check-prefix=MANIFEST < %t.spx/manifest.json

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 64 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 64 : i64, sinks = 4 : i64}>
#layout = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 33, caps = [348, 348], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>, #kvcache.field<name = "threshold", scope = head, type = f32, shape = [], init = 0xFF800000 : f32, content = false, counter = false>, #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = [#d2o], keys_by_slot = true, caps_of_prompt = true>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>, sparsity.layouts = [#layout, #layout]} {
  func.func @step(%mass: tensor<2x2x528xf32> {plan.name = "mass"}, %positions: tensor<2xi32> {plan.name = "positions"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %active: tensor<2xi32> {plan.name = "active"}, %layer: !kvcache.layer<#layout> {plan.layer = 0 : i64})
      -> !kvcache.layer<#layout> attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %next = kvcache.compress %layer, %mass, %positions, %sequences, %active : (!kvcache.layer<#layout>, tensor<2x2x528xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !kvcache.layer<#layout>
    return %next : !kvcache.layer<#layout>
  }
  func.func @maintain_budgets(%sequences: tensor<1xi32> {plan.name = "sequences"}, %first: !kvcache.layer<#layout> {plan.layer = 0 : i64}, %second: !kvcache.layer<#layout> {plan.layer = 1 : i64})
      -> (!kvcache.layer<#layout>, !kvcache.layer<#layout>) attributes {plan.kind = "maintain_budgets", plan.rows = 1 : i64} {
    %v = sparsity.spread %first, %sequences {policy = #d2o} : (!kvcache.layer<#layout>, tensor<1xi32>) -> tensor<2xf32>
    %w = sparsity.spread %second, %sequences {policy = #d2o} : (!kvcache.layer<#layout>, tensor<1xi32>) -> tensor<2xf32>
    %s, %t = sparsity.share_budget %v, %w {policy = #d2o} : (tensor<2xf32>, tensor<2xf32>) -> (tensor<1xf32>, tensor<1xf32>)
    %c = sparsity.set_budget %first, %sequences, %s {policy = #d2o} : (!kvcache.layer<#layout>, tensor<1xi32>, tensor<1xf32>) -> !kvcache.layer<#layout>
    %d = sparsity.set_budget %second, %sequences, %t {policy = #d2o} : (!kvcache.layer<#layout>, tensor<1xi32>, tensor<1xf32>) -> !kvcache.layer<#layout>
    return %c, %d : !kvcache.layer<#layout>, !kvcache.layer<#layout>
  }
  func.func @choose(%sequences: tensor<1xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#layout> {plan.layer = 0 : i64})
      -> (tensor<2x348xi32> {plan.name = "order"}, tensor<2xi32> {plan.name = "kept"}, tensor<2x528xi32> {plan.name = "keys"}) attributes {plan.kind = "maintain_compact", plan.rows = 1 : i64} {
    %order, %kept, %keys = kvcache.choose %layer, %sequences : (!kvcache.layer<#layout>, tensor<1xi32>) -> (tensor<2x348xi32>, tensor<2xi32>, tensor<2x528xi32>)
    return %order, %kept, %keys : tensor<2x348xi32>, tensor<2xi32>, tensor<2x528xi32>
  }
}

// CHECK: plan.launch @compress_0 {{.*}}grid = [2, 2, 1], block = [512, 1, 1]
// Both layers share a kernel.
// CHECK-COUNT-2: plan.launch @spread_0 {{.*}}grid = [2, 1, 1], block = [1024, 1, 1]
// CHECK: plan.launch @share_budget_0
// CHECK-COUNT-2: plan.launch @set_budget_0
// CHECK: plan.launch @choose_0 {{.*}}grid = [2, 1, 1], block = [512, 1, 1]

// The least of the slots outside the recent tokens, which are a part of what the head keeps now.
// CHECK-LABEL: gpu.func @compress_0
// CHECK: scf.for
// CHECK: arith.divsi {{.*}} : i64
// CHECK: arith.cmpf olt
// The sum, and then the deviations from the mean: over the lanes, then over the warps.
// CHECK-LABEL: gpu.func @spread_0
// CHECK: gpu.barrier
// CHECK: gpu.shuffle
// CHECK: arith.divf
// CHECK: gpu.shuffle
// CHECK: gpu.barrier

// MANIFEST: "caps": [
// MANIFEST-NEXT: 348,
// MANIFEST-NEXT: 348
// MANIFEST: "name": "budget",
// MANIFEST-NEXT: "scope": "head",
// MANIFEST: "prefill_cap": "end"
