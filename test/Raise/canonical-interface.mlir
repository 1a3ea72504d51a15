// RUN: sparse-opt %s --onnx-canonical-interface | FileCheck %s

// Names of caches that mean nothing, in an order that means nothing; a padding mask that nothing reads; a graph that
// counts positions itself; caches that are not returned; a weight that nothing reads.

// CHECK-NOT: @unused
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[IDS:[^:]*]]: tensor<?x?xi64> {onnx.name = "input_ids"}, %{{.*}}: tensor<?x?xi64> {onnx.name = "position_ids"},
// CHECK-SAME: %[[K0:[^:]*]]: tensor<?x2x?x16xf32> {onnx.name = "past_key_values.0.key"},
// CHECK-SAME: %[[V0:[^:]*]]: tensor<?x2x?x16xf32> {onnx.name = "past_key_values.0.value"},
// CHECK-SAME: %[[K1:[^:]*]]: tensor<?x2x?x16xf32> {onnx.name = "past_key_values.1.key"},
// CHECK-SAME: %[[V1:[^:]*]]: tensor<?x2x?x16xf32> {onnx.name = "past_key_values.1.value"})
// CHECK-SAME: -> (tensor<?x?x32xf32> {onnx.name = "logits"}, tensor<?x2x?x16xf32> {onnx.name = "present.0.key"},
// CHECK-SAME: tensor<?x2x?x16xf32> {onnx.name = "present.0.value"}, tensor<?x2x?x16xf32> {onnx.name = "present.1.key"},
// CHECK-SAME: tensor<?x2x?x16xf32> {onnx.name = "present.1.value"})
// CHECK: %[[X:.*]] = onnx.Gather %{{.*}}, %[[IDS]] {{.*}} -> tensor<?x?x32xf32>
// CHECK: %[[Y:.*]], %[[NK0:.*]], %[[NV0:.*]], %{{.*}} = onnx.Attention %[[X]], %[[X]], %[[X]], %{{.*}}, %[[K0]], %[[V0]], {{.*}} -> (tensor<?x?x32xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
// CHECK: %[[Z:.*]], %[[NK1:.*]], %[[NV1:.*]], %{{.*}} = onnx.Attention %[[Y]], %[[Y]], %[[Y]], %{{.*}}, %[[K1]], %[[V1]],
// CHECK: return %[[Z]], %[[NK0]], %[[NV0]], %[[NK1]], %[[NV1]]

onnx.initializer @embed : tensor<320x32xf32> file "w" offset 0 length 40960
onnx.initializer @unused : tensor<320x32xf32> file "w" offset 0 length 40960

func.func @main(%b: tensor<?x2x?x16xf32>, %mask: tensor<?x?xi64> {onnx.name = "attention_mask"}, %c: tensor<?x2x?x16xf32>,
    %tokens: tensor<?x?xi64> {onnx.name = "tokens"}, %d: tensor<?x2x?x16xf32>, %a: tensor<?x2x?x16xf32>)
    -> (tensor<*xf32>, tensor<*xf32>) {
  %none = onnx.NoValue
  %w = onnx.weight @embed : tensor<320x32xf32>
  %x = onnx.Gather %w, %tokens : (tensor<320x32xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  %y, %nk0, %nv0, %s0 = onnx.Attention %x, %x, %x, %none, %a, %b, %none {is_causal = 1 : i64, q_num_heads = 2 : i64, kv_num_heads = 2 : i64}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none) -> (tensor<*xf32>, none, none, none)
  %z, %nk1, %nv1, %s1 = onnx.Attention %y, %y, %y, %none, %c, %d, %none {is_causal = 1 : i64, q_num_heads = 2 : i64, kv_num_heads = 2 : i64}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none)
  return %nv1, %z : tensor<*xf32>, tensor<*xf32>
}
