// RUN: sparse-opt %s --onnx-attach-sites | FileCheck %s

// Biases, norms of heads' rows, an MLP without a gate, a scaled embedding, capped logits. `standard-form.mlir` has the
// gated MLP.

onnx.initializer @embed : tensor<320x64xf32> file "w" offset 0 length 81920
onnx.initializer @w : tensor<64x64xf32> file "w" offset 0 length 16384
onnx.initializer @b : tensor<64xf32> file "w" offset 0 length 256
onnx.initializer @head : tensor<64x320xf32> file "w" offset 0 length 81920

// CHECK-LABEL: func.func @main
func.func @main(%ids: tensor<?x?xi64>, %pk: tensor<?x4x?x16xf32>, %pv: tensor<?x4x?x16xf32>) -> tensor<?x?x320xf32> {
  %none = onnx.NoValue
  %c = onnx.Constant {value = dense<8.0> : tensor<f32>} : () -> tensor<f32>
  %embed = onnx.weight @embed : tensor<320x64xf32>
  %w = onnx.weight @w : tensor<64x64xf32>
  %b = onnx.weight @b : tensor<64xf32>
  %head = onnx.weight @head : tensor<64x320xf32>
  // CHECK: onnx.Gather {{.*}}<layer = -1, part = embed>
  %e = onnx.Gather %embed, %ids : (tensor<320x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  // CHECK: onnx.Mul %{{.*}}, %{{.*}} :
  %x = onnx.Mul %e, %c : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.RMSNormalization {{.*}}<layer = 0, part = norm>
  %n = onnx.RMSNormalization %x, %b : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.MatMul {{.*}}<layer = 0, part = q>
  // CHECK: onnx.Add %{{.*}}, %{{.*}} :
  // CHECK: onnx.RMSNormalization {{.*}}<layer = 0, part = norm>
  %q0 = onnx.MatMul %n, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  %q1 = onnx.Add %b, %q0 : (tensor<64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %q = onnx.RMSNormalization %q1, %b : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.MatMul {{.*}}<layer = 0, part = k>
  // CHECK: onnx.MatMul {{.*}}<layer = 0, part = v>
  %k = onnx.MatMul %n, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  %v = onnx.MatMul %n, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.Attention {{.*}}<layer = 0, part = attention>
  %y, %nk, %nv, %s = onnx.Attention %q, %k, %v, %none, %pk, %pv, %none {is_causal = 1 : i64, q_num_heads = 4 : i64, kv_num_heads = 4 : i64}
    : (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>, none, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, none)
    -> (tensor<?x?x64xf32>, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, none)
  // CHECK: onnx.MatMul {{.*}}<layer = 0, part = o>
  %o = onnx.MatMul %y, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  %h = onnx.Add %x, %o : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.MatMul {{.*}}<layer = 0, part = up>
  // CHECK: onnx.Gelu {{.*}}<layer = 0, part = act>
  // CHECK: onnx.MatMul {{.*}}<layer = 0, part = down>
  %u0 = onnx.MatMul %h, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  %u = onnx.Add %u0, %b : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32>
  %a = onnx.Gelu %u : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %d = onnx.MatMul %a, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  %r = onnx.Add %h, %d : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.RMSNormalization {{.*}}<layer = -1, part = norm>
  %f = onnx.RMSNormalization %r, %b : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32>
  // CHECK: onnx.MatMul {{.*}}<layer = -1, part = head>
  %l0 = onnx.MatMul %f, %head : (tensor<?x?x64xf32>, tensor<64x320xf32>) -> tensor<?x?x320xf32>
  %l1 = onnx.Div %l0, %c : (tensor<?x?x320xf32>, tensor<f32>) -> tensor<?x?x320xf32>
  %l2 = onnx.Tanh %l1 : (tensor<?x?x320xf32>) -> tensor<?x?x320xf32>
  %l = onnx.Mul %l2, %c : (tensor<?x?x320xf32>, tensor<f32>) -> tensor<?x?x320xf32>
  return %l : tensor<?x?x320xf32>
}
