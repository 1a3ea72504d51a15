// What H2O adds to a step: the probability that slots receive, and the choice of a victim.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx

#h2o = #sparsity.h2o<{heads = array<i64>, heavy = 64 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 64 : i64}>
#layout = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 33, caps = [128, 128], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [#h2o], keys_by_slot = true>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>} {
  func.func @decode(%query: tensor<2x256xf32> {plan.name = "query"}, %lse: tensor<2x4xf32> {plan.name = "lse"}, %positions: tensor<2xi32> {plan.name = "positions"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %active: tensor<2xi32> {plan.name = "active"}, %layer: !kvcache.layer<#layout> {plan.layer = 0 : i64})
      -> (tensor<2x2x528xf32> {plan.name = "received"}, !kvcache.layer<#layout>) attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %mass = sparsity.mass %query, %lse, %layer, %positions, %sequences, %active {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 0>, scale = 1.250000000e-01 : f32} : (tensor<2x256xf32>, tensor<2x4xf32>, !kvcache.layer<#layout>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> tensor<2x2x528xf32>
    %next = kvcache.compress %layer, %mass, %positions, %sequences, %active : (!kvcache.layer<#layout>, tensor<2x2x528xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !kvcache.layer<#layout>
    return %mass, %next : tensor<2x2x528xf32>, !kvcache.layer<#layout>
  }
  func.func @prefill(%query: tensor<32x256xf32> {plan.name = "query"}, %lse: tensor<32x4xf32> {plan.name = "lse"}, %positions: tensor<32xi32> {plan.name = "positions"}, %sequences: tensor<32xi32> {plan.name = "sequences"}, %active: tensor<32xi32> {plan.name = "active"}, %layer: !kvcache.layer<#layout> {plan.layer = 0 : i64})
      -> (tensor<1x2x528xf32> {plan.name = "received"}) attributes {plan.kind = "prefill", plan.rows = 32 : i64} {
    %mass = sparsity.mass %query, %lse, %layer, %positions, %sequences, %active {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 0>, prefill, scale = 1.250000000e-01 : f32} : (tensor<32x256xf32>, tensor<32x4xf32>, !kvcache.layer<#layout>, tensor<32xi32>, tensor<32xi32>, tensor<32xi32>) -> tensor<1x2x528xf32>
    return %mass : tensor<1x2x528xf32>
  }
}

// CHECK: plan.launch @mass_0 {{.*}}grid = [3, 2, 2], block = [128, 1, 1]
// CHECK: plan.launch @compress_0 {{.*}}grid = [2, 2, 1], block = [512, 1, 1]
// CHECK: plan.launch @mass_1 {{.*}}grid = [9, 2, 1], block = [256, 1, 1]

// A warp scores the slots of a page; e^(score - log of the denominator).
// CHECK-LABEL: gpu.func @mass_0
// CHECK: gpu.shuffle
// CHECK: llvm.nvvm.ex2.approx.ftz.f
// The least key, of equal ones the oldest token's: over the lanes, then over the warps.
// CHECK-LABEL: gpu.func @compress_0
// CHECK: scf.for
// CHECK: arith.cmpf olt
// CHECK: gpu.barrier
// CHECK: arith.cmpf olt
// Sixteen rows times the keys of a tile on tensor cores.
// CHECK-LABEL: gpu.func @mass_1
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.mma.sync
