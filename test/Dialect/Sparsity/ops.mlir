// RUN: sparse-opt %s | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --mlir-print-op-generic | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --emit-bytecode | sparse-opt | FileCheck %s

// Policies print by their method's name, also inside a layout.
// CHECK-DAG: #page_topk = #sparsity.page_topk<{budget = 64 : i64, group = "sum", least = 0 : i64, over = 0 : i64, page = 4 : i64, per_query_head = false, sinks = 3 : i64}>
// CHECK-DAG: #h2o = #sparsity.h2o<{heads = array<i64: 0>, heavy = 3 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 5 : i64}>
// CHECK-DAG: #streaming = #sparsity.streaming<{heads = array<i64>, sinks = 4 : i64, window = 60 : i64}>
// CHECK-DAG: #layout = #kvcache.layout<{{.*}}policies = [#page_topk]>
// CHECK-DAG: !layer = !kvcache.layer<#layout>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32,
    slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [],
    policies = [#sparsity.page_topk<{page = 4, budget = 64, over = 0, least = 0, group = "sum", per_query_head = false, sinks = 3}>]>>
#quest = #sparsity.page_topk<{page = 4, budget = 64, over = 0, least = 0, group = "sum", per_query_head = false, sinks = 3}>

// CHECK-LABEL: func.func @decode
// CHECK-SAME: %[[IDS:.*]]: tensor<2xi32>, %[[S:.*]]: !layer
func.func @decode(%ids: tensor<2xi32>, %s: !layer, %table: tensor<5x64x64xbf16>) -> tensor<2x64xf32> {
  // CHECK: %[[X:.*]] = sparsity.embed %{{.*}}, %[[IDS]] : (tensor<5x64x64xbf16>, tensor<2xi32>) -> tensor<2x64xf32>
  %x = sparsity.embed %table, %ids : (tensor<5x64x64xbf16>, tensor<2xi32>) -> tensor<2x64xf32>
  // CHECK: sparsity.linear %[[X]], %{{.*}} : (tensor<2x64xf32>, tensor<5x64x64xbf16>) -> tensor<2x320xf32>
  %l = sparsity.linear %x, %table : (tensor<2x64xf32>, tensor<5x64x64xbf16>) -> tensor<2x320xf32>
  // CHECK: %[[U:.*]] = sparsity.score %[[X]], %[[S]], %[[IDS]] {policy = #page_topk} : (tensor<2x64xf32>, !layer, tensor<2xi32>) -> tensor<2x2x64xf32>
  %u = sparsity.score %x, %s, %ids {policy = #quest} : (tensor<2x64xf32>, !layer, tensor<2xi32>) -> tensor<2x2x64xf32>
  // CHECK: %[[I:.*]], %[[C:.*]] = sparsity.select %[[U]], %[[S]], %[[IDS]] {policy = #page_topk}
  %i, %c = sparsity.select %u, %s, %ids {policy = #quest} : (tensor<2x2x64xf32>, !layer, tensor<2xi32>) -> (tensor<2x2x16xi32>, tensor<2x2xi32>)
  // CHECK: %[[Y:.*]], %[[LSE:.*]] = sparsity.attend %[[X]], %[[S]], %[[IDS]], %[[IDS]], %[[I]], %[[C]]
  // CHECK-SAME: scale = 2.500000e-01 : f32
  %y, %lse = sparsity.attend %x, %s, %ids, %ids, %i, %c {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>, scale = 0.25 : f32} : (tensor<2x64xf32>, !layer, tensor<2xi32>, tensor<2xi32>, tensor<2x2x16xi32>, tensor<2x2xi32>) -> (tensor<2x64xf32>, tensor<2x4xf32>)
  // CHECK: sparsity.mass %[[X]], %[[LSE]], %[[S]], %[[IDS]], %[[IDS]], %[[IDS]]
  // CHECK-SAME: softcap = 5.000000e+01 : f32, window = 9 : i64
  %m = sparsity.mass %x, %lse, %s, %ids, %ids, %ids {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 0>, scale = 0.25 : f32, softcap = 50.0 : f32, window = 9 : i64} : (tensor<2x64xf32>, tensor<2x4xf32>, !layer, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> tensor<2x2x256xf32>
  return %y : tensor<2x64xf32>
}

// CHECK-LABEL: func.func @prefill
func.func @prefill(%x: tensor<8x64xf32>, %s: !layer, %p: tensor<8xi32>) -> tensor<8x64xf32> {
  // CHECK: sparsity.attend {{.*}}prefill
  %y, %lse = sparsity.attend %x, %s, %p, %p {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0>, prefill, scale = 0.25 : f32} : (tensor<8x64xf32>, !layer, tensor<8xi32>, tensor<8xi32>) -> (tensor<8x64xf32>, tensor<8x4xf32>)
  return %y : tensor<8x64xf32>
}

// CHECK-LABEL: func.func @sample
func.func @sample(%l: tensor<2x320xf32>, %i: tensor<2xi32>, %t: tensor<2xf32>, %s: tensor<2xi64>, %e: tensor<2x8xi32>) -> tensor<2xi32> {
  // CHECK: %tokens, %new_ids, %new_positions, %new_active, %new_counters = sparsity.sample %{{.*}} : (tensor<2x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  %r:5 = sparsity.sample %l, %i, %i, %i, %t, %i, %t, %s, %s, %e : (tensor<2x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  return %r#0 : tensor<2xi32>
}

// CHECK-LABEL: func.func private @sites
// CHECK-SAME: sparsity.kv = [#h2o, #streaming], sparsity.selection = #page_topk, sparsity.site = #sparsity.site<layer = 3, part = attention>
// CHECK-SAME: test.lowering = #sparsity.lowering_config<strategy = vector, tiles = [1, 8]>
func.func private @sites() attributes {
  sparsity.site = #sparsity.site<layer = 3, part = attention>, sparsity.selection = #quest,
  sparsity.kv = [#sparsity.h2o<{heavy = 3, least = 0 : i64, over = 0 : i64, recent = 5, heads = array<i64: 0>, prefill = "dense"}>,
                 #sparsity.streaming<{sinks = 4, window = 60, heads = array<i64>}>],
  test.lowering = #sparsity.lowering_config<strategy = vector, tiles = [1, 8]>}
