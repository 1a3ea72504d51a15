// A step of D2O over a dense list: the compression before names slots that may be evicted next, attention compares their keys
// with all that it reads, and the search for the victim's nearest key reads the cache again only for a victim that was not named.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to fuse | FileCheck %s --check-prefix=FUSE
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx
// RUN: sparse-opt compile %s --compile-from stateful --reference -o %t.reference.spx

#d2o = #sparsity.d2o<{alpha = 5.000000e-01 : f64, beta = 5.000000e-01 : f64, budgets = "uniform", heads = array<i64>, heavy = 64 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 64 : i64, sinks = 4 : i64}>
#layout = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 40, caps = [128, 128], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>, #kvcache.field<name = "threshold", scope = head, type = f32, shape = [], init = 0xFF800000 : f32, content = false, counter = false>, #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>, #kvcache.field<name = "likely", scope = head, type = i32, shape = [4], init = -1 : i32, content = false, counter = false>], policies = [#d2o], keys_by_slot = true, fields_by_channel = false>
!layer = !kvcache.layer<#layout>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>} {
  func.func @step(%query: tensor<2x512xf32> {plan.name = "query"}, %positions: tensor<2xi32> {plan.name = "positions"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %active: tensor<2xi32> {plan.name = "active"}, %layer: !layer) -> (tensor<2x512xf32> {plan.name = "out"}, tensor<2x8xf32> {plan.name = "lse"}, !layer)
      attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %out, %lse = sparsity.attend %query, %layer, %positions, %sequences {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0>, scale = 1.250000000e-01 : f32} : (tensor<2x512xf32>, !layer, tensor<2xi32>, tensor<2xi32>) -> (tensor<2x512xf32>, tensor<2x8xf32>)
    %mass = sparsity.mass %query, %lse, %layer, %positions, %sequences, %active {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 0>, scale = 1.250000000e-01 : f32} : (tensor<2x512xf32>, tensor<2x8xf32>, !layer, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> tensor<2x2x640xf32>
    %chosen, %evicted = kvcache.compress %layer, %mass, %positions, %sequences, %active : (!layer, tensor<2x2x640xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<2x2xi32>)
    %targets, %share = sparsity.match %chosen, %evicted, %sequences {layer = 0 : i64, policy = #d2o} : (!layer, tensor<2x2xi32>, tensor<2xi32>) -> (tensor<2x2x1xi32>, tensor<2x2xf32>)
    %next = sparsity.merge %chosen, %targets, %share, %sequences {policy = #d2o} : (!layer, tensor<2x2x1xi32>, tensor<2x2xf32>, tensor<2xi32>) -> !layer
    return %out, %lse, %next : tensor<2x512xf32>, tensor<2x8xf32>, !layer
  }
}

// One kernel reads the keys for both.
// FUSE: %[[PART:.*]]:8 = plan.kernel "attend_part"
// FUSE: sparsity.attend_part
// FUSE-NEXT: sparsity.nearest_part
// FUSE: plan.kernel "match"
// FUSE: sparsity.match {{.*}} : (!{{.*}}, tensor<2x2xi32>, tensor<2xi32>, tensor<2x2x4xi32>, tensor<2x2x{{.*}}x4xf32>, tensor<2x2x{{.*}}x4xi32>, tensor<2x2x{{.*}}x4xi32>)

// CHECK: plan.launch @attend_part_0
// CHECK-NEXT: plan.launch @combine_0
// CHECK-NEXT: plan.launch @compress_0
// CHECK-NEXT: plan.launch @match_0
// CHECK-NEXT: plan.launch @merge_0
// CHECK-NOT: plan.launch

// Keys are multiplied by the rows of queries and victims, and by themselves: two products of each kind for every load.
// CHECK-LABEL: gpu.func @attend_part_0
// CHECK: nvvm.mma.sync
// CHECK-LABEL: gpu.func @match_0
// CHECK: nvvm.mma.sync
