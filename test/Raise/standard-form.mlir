// RUN: sparse-opt %s --sparse-raise | FileCheck %s

// A decoder layer in the standard's own operators, as the importer writes it.

onnx.initializer @embed : tensor<320x64xf32> file "w.data" offset 0 length 81920
onnx.initializer @norm1 : tensor<64xf32> file "w.data" offset 0 length 256
onnx.initializer @norm2 : tensor<64xf32> file "w.data" offset 0 length 256
onnx.initializer @norm3 : tensor<64xf32> file "w.data" offset 0 length 256
onnx.initializer @q : tensor<64x64xf32> file "w.data" offset 0 length 16384
onnx.initializer @k : tensor<64x32xf32> file "w.data" offset 0 length 8192
onnx.initializer @v : tensor<64x32xf32> file "w.data" offset 0 length 8192
onnx.initializer @o : tensor<64x64xf32> file "w.data" offset 0 length 16384
onnx.initializer @gate : tensor<64x128xf32> file "w.data" offset 0 length 32768
onnx.initializer @up : tensor<64x128xf32> file "w.data" offset 0 length 32768
onnx.initializer @down : tensor<128x64xf32> file "w.data" offset 0 length 32768
onnx.initializer @head : tensor<64x320xf32> file "w.data" offset 0 length 81920
onnx.initializer @cos : tensor<256x8xf32> file "w.data" offset 0 length 8192
onnx.initializer @sin : tensor<256x8xf32> file "w.data" offset 0 length 8192

// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[IDS:[a-z0-9]*]]: tensor<?x?xi64> {onnx.name = "input_ids"}
// CHECK-SAME: %[[POS:[a-z0-9]*]]: tensor<?x?xi64> {onnx.name = "position_ids"}
// CHECK-SAME: %[[PK:[a-z0-9]*]]: tensor<?x2x?x16xf32> {onnx.name = "past_key_values.0.key"}
// CHECK-SAME: %[[PV:[a-z0-9]*]]: tensor<?x2x?x16xf32> {onnx.name = "past_key_values.0.value"}
// CHECK-SAME: -> (tensor<?x?x320xf32> {onnx.name = "logits"}
// CHECK-SAME: tensor<?x2x?x16xf32> {onnx.name = "present.0.key"}
// CHECK-SAME: tensor<?x2x?x16xf32> {onnx.name = "present.0.value"}
func.func @main(%attention_mask: tensor<?x?xi64> {onnx.name = "attention_mask"},
                %ids: tensor<?x?xi64> {onnx.name = "input_ids"},
                %positions: tensor<?x?xi64> {onnx.name = "position_ids"},
                %pv: tensor<?x2x?x16xf32> {onnx.name = "v_cache"},
                %pk: tensor<?x2x?x16xf32> {onnx.name = "k_cache"})
    -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  %none = onnx.NoValue
  %embed = onnx.weight @embed : tensor<320x64xf32>
  %norm1 = onnx.weight @norm1 : tensor<64xf32>
  %norm2 = onnx.weight @norm2 : tensor<64xf32>
  %norm3 = onnx.weight @norm3 : tensor<64xf32>
  %wq = onnx.weight @q : tensor<64x64xf32>
  %wk = onnx.weight @k : tensor<64x32xf32>
  %wv = onnx.weight @v : tensor<64x32xf32>
  %wo = onnx.weight @o : tensor<64x64xf32>
  %wgate = onnx.weight @gate : tensor<64x128xf32>
  %wup = onnx.weight @up : tensor<64x128xf32>
  %wdown = onnx.weight @down : tensor<128x64xf32>
  %whead = onnx.weight @head : tensor<64x320xf32>
  %cos = onnx.weight @cos : tensor<256x8xf32>
  %sin = onnx.weight @sin : tensor<256x8xf32>

  // CHECK: onnx.Gather %{{.*}}, %[[IDS]] {{.*}}sparsity.site = #sparsity.site<layer = -1, part = embed>{{.*}} -> tensor<?x?x64xf32>
  %x = onnx.Gather %embed, %ids : (tensor<320x64xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  // CHECK: onnx.RMSNormalization {{.*}}#sparsity.site<layer = 0, part = norm>
  %n = onnx.RMSNormalization %x, %norm1 {epsilon = 1.0e-6 : f32} : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = q>
  %q = onnx.MatMul %n, %wq : (tensor<*xf32>, tensor<64x64xf32>) -> tensor<*xf32>
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = k>
  %k = onnx.MatMul %n, %wk : (tensor<*xf32>, tensor<64x32xf32>) -> tensor<*xf32>
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = v>{{.*}} -> tensor<?x?x32xf32>
  %v = onnx.MatMul %n, %wv : (tensor<*xf32>, tensor<64x32xf32>) -> tensor<*xf32>
  // CHECK: onnx.RotaryEmbedding %{{.*}}, %{{.*}}, %{{.*}}, %[[POS]]
  %qr = onnx.RotaryEmbedding %q, %cos, %sin, %positions {num_heads = 4 : i64}
    : (tensor<*xf32>, tensor<256x8xf32>, tensor<256x8xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  %kr = onnx.RotaryEmbedding %k, %cos, %sin, %positions {num_heads = 2 : i64}
    : (tensor<*xf32>, tensor<256x8xf32>, tensor<256x8xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention {{.*}}, %[[PK]], %[[PV]], {{.*}}is_causal = 1
  // CHECK-SAME: #sparsity.site<layer = 0, part = attention>
  %y, %nk, %nv, %qk = onnx.Attention %qr, %kr, %v, %none, %pk, %pv, %none
    {is_causal = 1 : i64, q_num_heads = 4 : i64, kv_num_heads = 2 : i64, scale = 0.25 : f32}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
    -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none)
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = o>
  %o = onnx.MatMul %y, %wo : (tensor<*xf32>, tensor<64x64xf32>) -> tensor<*xf32>
  %h = onnx.Add %x, %o : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.RMSNormalization {{.*}}#sparsity.site<layer = 0, part = norm>
  %m = onnx.RMSNormalization %h, %norm2 {epsilon = 1.0e-6 : f32} : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = gate>
  %g = onnx.MatMul %m, %wgate : (tensor<*xf32>, tensor<64x128xf32>) -> tensor<*xf32>
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = up>
  %u = onnx.MatMul %m, %wup : (tensor<*xf32>, tensor<64x128xf32>) -> tensor<*xf32>
  // CHECK: onnx.Swish {{.*}}#sparsity.site<layer = 0, part = act>
  %s = onnx.Sigmoid %g : (tensor<*xf32>) -> tensor<*xf32>
  %a = onnx.Mul %g, %s : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %p = onnx.Mul %a, %u : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.MatMul {{.*}}#sparsity.site<layer = 0, part = down>
  %d = onnx.MatMul %p, %wdown : (tensor<*xf32>, tensor<128x64xf32>) -> tensor<*xf32>
  %r = onnx.Add %h, %d : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.RMSNormalization {{.*}}#sparsity.site<layer = -1, part = norm>
  %f = onnx.RMSNormalization %r, %norm3 {epsilon = 1.0e-6 : f32} : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  // CHECK: %[[LOGITS:.*]] = onnx.MatMul {{.*}}#sparsity.site<layer = -1, part = head>
  %logits = onnx.MatMul %f, %whead : (tensor<*xf32>, tensor<64x320xf32>) -> tensor<*xf32>
  // CHECK: return %[[LOGITS]], %[[NK]], %[[NV]]
  return %logits, %nv, %nk : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}
