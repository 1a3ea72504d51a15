// A cap that follows the length: the kernels of a step and of a compaction divide once, in 64 bits, and assemble.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx
// RUN: FileCheck %s --check-prefix=MANIFEST < %t.spx/manifest.json

#h2o = #sparsity.h2o<{heads = array<i64: 1>, heavy = 64 : i64, least = 20 : i64, over = 500 : i64, prefill = "dense", recent = 64 : i64}>
#layout = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 33, caps = [-1, 128], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [#h2o], keys_by_slot = true, cap_over = [0, 500], cap_least = [0, 20]>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>, sparsity.layouts = [#layout]} {
  func.func @decode(%mass: tensor<2x2x528xf32> {plan.name = "received"}, %positions: tensor<2xi32> {plan.name = "positions"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %active: tensor<2xi32> {plan.name = "active"}, %layer: !kvcache.layer<#layout> {plan.layer = 0 : i64})
      -> !kvcache.layer<#layout> attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %next = kvcache.compress %layer, %mass, %positions, %sequences, %active : (!kvcache.layer<#layout>, tensor<2x2x528xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !kvcache.layer<#layout>
    return %next : !kvcache.layer<#layout>
  }
  func.func @maintain_compact(%sequences: tensor<1xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#layout> {plan.layer = 0 : i64})
      -> (tensor<2x128xi32> {plan.name = "order"}, tensor<2xi32> {plan.name = "kept"}, tensor<2x528xi32> {plan.name = "keys"}) attributes {plan.kind = "maintain_compact", plan.rows = 1 : i64} {
    %order, %kept, %keys = kvcache.choose %layer, %sequences : (!kvcache.layer<#layout>, tensor<1xi32>) -> (tensor<2x128xi32>, tensor<2xi32>, tensor<2x528xi32>)
    return %order, %kept, %keys : tensor<2x128xi32>, tensor<2xi32>, tensor<2x528xi32>
  }
}

// The share of the recent slots, which the keys need, and the cap.
// CHECK-LABEL: gpu.func @compress_0
// CHECK-DAG: arith.extsi {{.*}} : i32 to i64
// CHECK: arith.divsi
// CHECK: arith.divsi
// CHECK-LABEL: gpu.func @choose_0
// CHECK: arith.divsi
// CHECK: arith.divsi

// MANIFEST: "caps"
// MANIFEST-NEXT: null,
// MANIFEST-NEXT: {
// MANIFEST-NEXT: "least": 20,
// MANIFEST-NEXT: "most": 128,
// MANIFEST-NEXT: "over": 500
