// A whole step of H2O over a dense list: attention leaves its scores, and the kernel that chooses the victim adds up from them
// what each slot received. No kernel reads a key a second time.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx

#layout = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 40, caps = [128, 128], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [#sparsity.h2o<{heads = array<i64>, heavy = 64 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 64 : i64}>], keys_by_slot = true, fields_by_channel = false>
!layer = !kvcache.layer<#layout>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>} {
  func.func @step(%query: tensor<2x512xf32> {plan.name = "query"}, %positions: tensor<2xi32> {plan.name = "positions"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %active: tensor<2xi32> {plan.name = "active"}, %layer: !layer) -> (tensor<2x512xf32> {plan.name = "out"}, tensor<2x8xf32> {plan.name = "lse"})
      attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %out, %lse = sparsity.attend %query, %layer, %positions, %sequences {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0>, scale = 1.250000000e-01 : f32} : (tensor<2x512xf32>, !layer, tensor<2xi32>, tensor<2xi32>) -> (tensor<2x512xf32>, tensor<2x8xf32>)
    %mass = sparsity.mass %query, %lse, %layer, %positions, %sequences, %active {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 0>, scale = 1.250000000e-01 : f32} : (tensor<2x512xf32>, tensor<2x8xf32>, !layer, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> tensor<2x2x640xf32>
    %compressed = kvcache.compress %layer, %mass, %positions, %sequences, %active : (!layer, tensor<2x2x640xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !layer
    return %out, %lse : tensor<2x512xf32>, tensor<2x8xf32>
  }
}

// CHECK: plan.launch @attend_part_0
// CHECK-NEXT: plan.launch @combine_0
// CHECK-NEXT: plan.launch @compress_0
// CHECK-NOT: plan.launch

// Four query heads' scores of a slot at once, each to the probability that attention gave it.
// CHECK-LABEL: gpu.func @compress_0
// CHECK: llvm.load {{.*}} -> vector<4xf32>
// CHECK-COUNT-4: ex2.approx
// CHECK: arith.cmpf olt
