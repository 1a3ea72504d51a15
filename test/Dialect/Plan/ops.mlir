// RUN: sparse-opt %s | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --mlir-print-op-generic | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --emit-bytecode | sparse-opt | FileCheck %s

// CHECK-LABEL: func.func @kernels
// CHECK-SAME: %[[X:.*]]: tensor<1x64xf32>, %[[S:.*]]: tensor<4xi32>
func.func @kernels(%x: tensor<1x64xf32>, %s: tensor<4xi32>) -> (tensor<1x64xf32>, tensor<4xi32>) {
  // CHECK: %[[Y:.*]]:2 = plan.kernel "copy"(%[[X]], %[[S]]) {ties = array<i64: -1, 1>} : (tensor<1x64xf32>, tensor<4xi32>) -> (tensor<1x64xf32>, tensor<4xi32>) {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<1x64xf32>, %[[B:.*]]: tensor<4xi32>):
  // CHECK-NEXT: plan.yield %[[A]], %[[B]] : tensor<1x64xf32>, tensor<4xi32>
  %y:2 = plan.kernel "copy"(%x, %s) {ties = array<i64: -1, 1>} : (tensor<1x64xf32>, tensor<4xi32>) -> (tensor<1x64xf32>, tensor<4xi32>) {
  ^bb0(%a: tensor<1x64xf32>, %b: tensor<4xi32>):
    plan.yield %a, %b : tensor<1x64xf32>, tensor<4xi32>
  }
  // CHECK: plan.kernel "nothing"() : () -> () {
  // CHECK-NEXT: plan.yield
  plan.kernel "nothing"() : () -> () {
    plan.yield
  }
  return %y#0, %y#1 : tensor<1x64xf32>, tensor<4xi32>
}

// CHECK: plan.entry @decode_b1 kind "decode" rows 1 arena 256
plan.entry @decode_b1 kind "decode" rows 1 arena 256 {
  // CHECK-NEXT: %[[IDS:.*]] = plan.input "ids" : memref<1xi32>
  %ids = plan.input "ids" : memref<1xi32>
  // CHECK-NEXT: %[[OUT:.*]] = plan.output "logits" : memref<1x64xf32>
  %out = plan.output "logits" : memref<1x64xf32>
  // CHECK-NEXT: %[[W:.*]] = plan.weight @w : memref<1x64x64xf32>
  %w = plan.weight @w : memref<1x64x64xf32>
  // CHECK-NEXT: %[[K:.*]] = plan.state layer 0 "key" : memref<?x16x4xf32, strided<[128, 4, 1]>>
  %k = plan.state layer 0 "key" : memref<?x16x4xf32, strided<[128, 4, 1]>>
  // CHECK-NEXT: %[[T:.*]] = plan.arena at 0 : memref<1x64xf32>
  %t = plan.arena at 0 : memref<1x64xf32>
  // CHECK-NEXT: plan.launch @k0 grid 8(%[[IDS]], %[[K]], %[[T]]) : memref<1xi32>, memref<?x16x4xf32, strided<[128, 4, 1]>>, memref<1x64xf32>
  plan.launch @k0 grid 8(%ids, %k, %t) : memref<1xi32>, memref<?x16x4xf32, strided<[128, 4, 1]>>, memref<1x64xf32>
  // CHECK-NEXT: plan.gemm %[[T]], %[[W]], %[[OUT]] {accumulate} : memref<1x64xf32>, memref<1x64x64xf32>, memref<1x64xf32>
  plan.gemm %t, %w, %out {accumulate} : memref<1x64xf32>, memref<1x64x64xf32>, memref<1x64xf32>
}
