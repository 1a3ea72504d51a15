// RUN: sparse-opt %s | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --mlir-print-op-generic | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --emit-bytecode | sparse-opt | FileCheck %s

// Layouts, and types made of them, print by name.
// CHECK-DAG: #[[DENSE:layout[0-9]*]] = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>
// CHECK-DAG: #[[CAPPED:layout[0-9]*]] = #kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16, slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.000000e+00 : f32, content = false, counter = false>, #kvcache.field<name = "page_max", scope = page, type = bf16, shape = [8], init = 0xFF80 : bf16, content = true, counter = false>, #kvcache.field<name = "seen", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>
// CHECK-DAG: ![[LAYER:layer[0-9]*]] = !kvcache.layer<#[[DENSE]]>
// CHECK-DAG: ![[SMALL:layer[0-9]*]] = !kvcache.layer<#[[CAPPED]]>
!dense = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32,
    slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>>
!capped = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [
      #kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
      #kvcache.field<name = "page_max", scope = page, type = bf16, shape = [8], init = 0xFF80 : bf16, content = true, counter = false>,
      #kvcache.field<name = "seen", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>
    ], policies = []>>

// CHECK-LABEL: func.func @decode
// CHECK-SAME: %[[S:.*]]: ![[LAYER]], %[[K:.*]]: tensor<2x32xf32>, %[[I:.*]]: tensor<2xi32>, %[[E:.*]]: tensor<1xi32>
func.func @decode(%s: !dense, %k: tensor<2x32xf32>, %i: tensor<2xi32>, %e: tensor<1xi32>, %m: tensor<1x2x256xf32>) -> !dense {
  // CHECK: %[[S1:.*]], %{{.*}} = kvcache.append %[[S]], %[[K]], %[[K]], %[[I]], %[[I]], %[[I]], %[[E]] : (![[LAYER]], tensor<2x32xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (![[LAYER]], tensor<1xi32>)
  %s1, %e1 = kvcache.append %s, %k, %k, %i, %i, %i, %e : (!dense, tensor<2x32xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!dense, tensor<1xi32>)
  // CHECK: kvcache.compress %[[S1]], %[[I]], %[[I]], %[[I]] : (![[LAYER]], tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> ![[LAYER]]
  %s2 = kvcache.compress %s1, %i, %i, %i : (!dense, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !dense
  // CHECK: kvcache.compress %{{.*}}, %{{.*}}, %[[I]], %[[I]], %[[I]] {prefill}
  %s3 = kvcache.compress %s2, %m, %i, %i, %i {prefill} : (!dense, tensor<1x2x256xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !dense
  return %s3 : !dense
}

// CHECK-LABEL: func.func @maintain
// CHECK-SAME: %[[S:.*]]: ![[SMALL]]
func.func @maintain(%s: !capped, %i: tensor<1xi32>) -> !capped {
  // CHECK: %[[O:.*]], %[[N:.*]], %{{.*}} = kvcache.choose %[[S]]
  %o, %n, %keys = kvcache.choose %s, %i : (!capped, tensor<1xi32>) -> (tensor<2x6xi32>, tensor<2xi32>, tensor<2x12xi32>)
  // CHECK: %[[G:.*]]:4 = kvcache.gather %[[S]], %{{.*}}, %[[O]], %[[N]]
  %g:4 = kvcache.gather %s, %i, %o, %n : (!capped, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>)
  // CHECK: kvcache.place %[[S]], %{{.*}}, %[[N]], %[[G]]#0, %[[G]]#1, %[[G]]#2, %[[G]]#3
  %s1 = kvcache.place %s, %i, %n, %g#0, %g#1, %g#2, %g#3 : (!capped, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> !capped
  // CHECK: kvcache.rebuild
  %s2 = kvcache.rebuild %s1, %i : (!capped, tensor<1xi32>) -> !capped
  return %s2 : !capped
}
