// RUN: not sparse-opt %s --onnx-check-raised 2>&1 | FileCheck %s

// Everything that is left is reported at once, each kind once.
onnx.initializer @w : tensor<64x64xf32> file "w" offset 0 length 16384
func.func @main(%ids: tensor<?x?xi64>, %x: tensor<?x?x64xf32>, %h: tensor<?x4x?x16xf32>, %m: tensor<?x?x?x?xi1>) {
  %none = onnx.NoValue
  %w = onnx.weight @w : tensor<64x64xf32>
  // CHECK-DAG: error: {{.*}}Conv is part of no pattern that raise knows (2 nodes: '/a/Conv', '/b/Conv')
  %a = onnx.node "Conv" domain "" (%x, %w) : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<*xf32> loc("/a/Conv")
  // CHECK-DAG: error: {{.*}}FusedThing of domain 'com.example' is part of no pattern that raise knows (1 node)
  %b = onnx.node "FusedThing" domain "com.example" (%x) : (tensor<?x?x64xf32>) -> tensor<*xf32>
  %c = onnx.node "Conv" domain "" (%b, %w) : (tensor<*xf32>, tensor<64x64xf32>) -> tensor<*xf32> loc("/b/Conv")
  // CHECK-DAG: error: {{.*}}MatMul multiplies two activations outside an attention (1 node: '/scores')
  %d = onnx.MatMul %x, %x : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x?xf32> loc("/scores")
  // CHECK-DAG: error: {{.*}}Attention has a mask that is no predicate
  %y, %nk, %nv, %s = onnx.Attention %x, %x, %x, %m, %h, %h, %none {is_causal = 1 : i64, q_num_heads = 4 : i64, kv_num_heads = 4 : i64}
    : (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x?x?xi1>, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, none)
    -> (tensor<?x?x64xf32>, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, none)
  // CHECK-DAG: error: {{.*}}Add is not on activations of {{\[}}batch, sequence, width] (1 node)
  %e = onnx.Add %ids, %ids : (tensor<?x?xi64>, tensor<?x?xi64>) -> tensor<?x?xi64>
  // CHECK-DAG: error: {{.*}}RotaryEmbedding has cosines and sines that are no table weights (1 node)
  %r = onnx.RotaryEmbedding %x, %x, %x, %ids {num_heads = 4 : i64}
    : (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  return
}
