// Folding meets the views around the raised op with the exporter's.
// RUN: sparse-opt %s --onnx-raise-rotary=max-context=128 --onnx-fold-constants | FileCheck %s
// The tables print with all digits of their frequencies:
// RUN: sparse-opt %s --onnx-raise-rotary=max-context=128 --onnx-fold-constants | sparse-opt | FileCheck %s --check-prefix=TABLE

// CHECK-DAG: onnx.derived @rope.cos from [] steps [#onnx.rope_table<fn = cos, inv_freq = [1.00000000e+00, 3.16227764e-01], scale = 1.000000e+00 : f32>] : tensor<128x2xf32>
// CHECK-DAG: onnx.derived @rope.sin from [] steps [#onnx.rope_table<fn = sin, inv_freq = [1.00000000e+00, 3.16227764e-01], scale = 1.000000e+00 : f32>] : tensor<128x2xf32>
// CHECK-DAG: onnx.derived @rope.cos_0 from [] steps [#onnx.rope_table<fn = cos, inv_freq = [1.00000000e+00, 3.16227764e-01], scale = 1.250000e+00 : f32>]
// TABLE: inv_freq = [1.00000000e+00, 3.16227764e-01]

onnx.initializer @cos : tensor<64x2xf32> file "w" offset 0 length 512
onnx.initializer @sin : tensor<64x2xf32> file "w" offset 0 length 512

// Angles as an outer product, both halves written out, rotate_half by Slice, Neg and Concat.
// CHECK-LABEL: func.func @half_split
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x12xf32>, %[[P:.*]]: tensor<?x?xi64>
func.func @half_split(%x: tensor<?x?x12xf32>, %p: tensor<?x?xi64> {onnx.name = "position_ids"}) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  %xh = onnx.Transpose %x4 {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: %[[R:.*]] = onnx.RotaryEmbedding %[[X]], %{{.*}}, %{{.*}}, %[[P]] {num_heads = 3 : i64}
  // CHECK: %[[S:.*]] = onnx.Reshape %[[R]], %
  // CHECK: %[[Y:.*]] = onnx.Transpose %[[S]] {perm = array<i64: 0, 2, 1, 3>}
  // CHECK: return %[[Y]]
  %none = onnx.NoValue
  %zero = onnx.Constant {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %three = onnx.Constant {value = dense<3> : tensor<1xi64>} : () -> tensor<1xi64>
  %end = onnx.Constant {value = dense<9223372036854775807> : tensor<1xi64>} : () -> tensor<1xi64>
  %f = onnx.Constant {value = dense<[1.0, 0.316227764]> : tensor<2xf32>} : () -> tensor<2xf32>
  %u = onnx.Unsqueeze %p, %two : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<*xi64>
  %pf = onnx.Cast %u {to = 1 : i64} : (tensor<*xi64>) -> tensor<*xf32>
  %a = onnx.Mul %pf, %f : (tensor<*xf32>, tensor<2xf32>) -> tensor<*xf32>
  %aa = onnx.Concat %a, %a {axis = -1 : i64} : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %c3 = onnx.Cos %aa : (tensor<*xf32>) -> tensor<*xf32>
  %s3 = onnx.Sin %aa : (tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Unsqueeze %c3, %one : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %s = onnx.Unsqueeze %s3, %one : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %straight = onnx.Mul %xh, %c : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %x1 = onnx.Slice %xh, %zero, %two, %three, %one
    : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %x2 = onnx.Slice %xh, %two, %end, %three, %one
    : (tensor<*xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %n = onnx.Neg %x2 : (tensor<*xf32>) -> tensor<*xf32>
  %h = onnx.Concat %n, %x1 {axis = -1 : i64} : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %turned = onnx.Mul %h, %s : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Add %straight, %turned : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// [batch, sequence, heads, dim], angles by MatMul and Transpose, a scale on the cosines, halves by Split, the sum turned
// around. No position_ids: positions count from the end of the past.
// CHECK-LABEL: func.func @scaled
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x12xf32>, %{{.*}}: tensor<?x1x?x4xf32>, %[[P:.*]]: tensor<?x?xi64> {onnx.name = "position_ids"})
func.func @scaled(%x: tensor<?x?x12xf32>, %past: tensor<?x1x?x4xf32>) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  // CHECK-NOT: onnx.Transpose
  // CHECK: onnx.RotaryEmbedding %[[X]], %{{.*}}, %{{.*}}, %[[P]] {num_heads = 3 : i64}
  %none = onnx.NoValue
  %i1 = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %i2 = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %zero1 = onnx.Constant {value = dense<[0, 1]> : tensor<2xi64>} : () -> tensor<2xi64>
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %scale = onnx.Constant {value = dense<1.25> : tensor<f32>} : () -> tensor<f32>
  %f = onnx.Constant {value = dense<[[[1.0], [0.316227764]]]> : tensor<1x2x1xf32>} : () -> tensor<1x2x1xf32>
  %ps = onnx.Shape %past : (tensor<?x1x?x4xf32>) -> tensor<4xi64>
  %p = onnx.Gather %ps, %i2 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %xs = onnx.Shape %x4 : (tensor<*xf32>) -> tensor<4xi64>
  %n = onnx.Gather %xs, %i1 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %t = onnx.Add %p, %n : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %r = onnx.Range %p, %t, %i1 : (tensor<*xi64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %u = onnx.Unsqueeze %r, %zero1 : (tensor<*xi64>, tensor<2xi64>) -> tensor<*xi64>
  %pf = onnx.Cast %u {to = 1 : i64} : (tensor<*xi64>) -> tensor<*xf32>
  %m = onnx.MatMul %f, %pf : (tensor<1x2x1xf32>, tensor<*xf32>) -> tensor<*xf32>
  %a = onnx.Transpose %m {perm = array<i64: 0, 2, 1>} : (tensor<*xf32>) -> tensor<*xf32>
  %aa = onnx.Concat %a, %a {axis = 2 : i64} : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %c0 = onnx.Cos %aa : (tensor<*xf32>) -> tensor<*xf32>
  %s0 = onnx.Sin %aa : (tensor<*xf32>) -> tensor<*xf32>
  %c1 = onnx.Mul %c0, %scale : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %s1 = onnx.Mul %scale, %s0 : (tensor<f32>, tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Unsqueeze %c1, %two : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %s = onnx.Unsqueeze %s1, %two : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %x1, %x2 = onnx.Split %x4, %none {axis = 3 : i64, num_outputs = 2 : i64}
    : (tensor<*xf32>, none) -> (tensor<*xf32>, tensor<*xf32>)
  %neg = onnx.Neg %x2 : (tensor<*xf32>) -> tensor<*xf32>
  %h = onnx.Concat %neg, %x1 {axis = 3 : i64} : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %turned = onnx.Mul %s, %h : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %straight = onnx.Mul %c, %x4 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Add %turned, %straight : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// The operator over rows gathered from tables.
// CHECK-LABEL: func.func @gathered
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x12xf32>, %[[P:.*]]: tensor<?x?xi64>
func.func @gathered(%x: tensor<?x?x12xf32>, %p: tensor<?x?xi64> {onnx.name = "position_ids"}) -> tensor<*xf32> {
  // CHECK: %[[C:.*]] = onnx.weight @cos
  // CHECK: %[[S:.*]] = onnx.weight @sin
  // CHECK-NOT: onnx.Gather
  // CHECK: onnx.RotaryEmbedding %[[X]], %[[C]], %[[S]], %[[P]] {num_heads = 3 : i64}
  %none = onnx.NoValue
  %cos = onnx.weight @cos : tensor<64x2xf32>
  %sin = onnx.weight @sin : tensor<64x2xf32>
  %c = onnx.Gather %cos, %p : (tensor<64x2xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  %s = onnx.Gather %sin, %p : (tensor<64x2xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  %y = onnx.RotaryEmbedding %x, %c, %s, %none {num_heads = 3 : i64}
    : (tensor<?x?x12xf32>, tensor<*xf32>, tensor<*xf32>, none) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// The operator on 4-D operands, with computed values of one half.
// CHECK-LABEL: func.func @four_dims
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x12xf32>, %[[P:.*]]: tensor<?x?xi64>
func.func @four_dims(%x: tensor<?x?x12xf32>, %p: tensor<?x?xi64> {onnx.name = "position_ids"}) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  %xh = onnx.Transpose %x4 {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.RotaryEmbedding %[[X]], %{{.*}}, %{{.*}}, %[[P]] {num_heads = 3 : i64}
  %none = onnx.NoValue
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %f = onnx.Constant {value = dense<[1.0, 0.316227764]> : tensor<2xf32>} : () -> tensor<2xf32>
  %u = onnx.Unsqueeze %p, %two : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<*xi64>
  %pf = onnx.Cast %u {to = 1 : i64} : (tensor<*xi64>) -> tensor<*xf32>
  %a = onnx.Mul %pf, %f : (tensor<*xf32>, tensor<2xf32>) -> tensor<*xf32>
  %c = onnx.Cos %a : (tensor<*xf32>) -> tensor<*xf32>
  %s = onnx.Sin %a : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.RotaryEmbedding %xh, %c, %s, %none : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// Canonical already.
// CHECK-LABEL: func.func @canonical
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x12xf32>, %[[P:.*]]: tensor<?x?xi64>
func.func @canonical(%x: tensor<?x?x12xf32>, %p: tensor<?x?xi64> {onnx.name = "position_ids"}) -> tensor<*xf32> {
  // CHECK: onnx.RotaryEmbedding %[[X]], %{{.*}}, %{{.*}}, %[[P]]
  // CHECK-NEXT: return
  %cos = onnx.weight @cos : tensor<64x2xf32>
  %sin = onnx.weight @sin : tensor<64x2xf32>
  %y = onnx.RotaryEmbedding %x, %cos, %sin, %p {num_heads = 3 : i64}
    : (tensor<?x?x12xf32>, tensor<64x2xf32>, tensor<64x2xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// Halves swapped without the sign are no rotation.
// CHECK-LABEL: func.func @no_sign
func.func @no_sign(%x: tensor<?x?x12xf32>, %c: tensor<4xf32>, %s: tensor<4xf32>) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  %xh = onnx.Transpose %x4 {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK-NOT: onnx.RotaryEmbedding
  // CHECK: onnx.Add
  %none = onnx.NoValue
  %straight = onnx.Mul %xh, %c : (tensor<*xf32>, tensor<4xf32>) -> tensor<*xf32>
  %x1, %x2 = onnx.Split %xh, %none {axis = 3 : i64, num_outputs = 2 : i64}
    : (tensor<*xf32>, none) -> (tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Concat %x2, %x1 {axis = 3 : i64} : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %turned = onnx.Mul %h, %s : (tensor<*xf32>, tensor<4xf32>) -> tensor<*xf32>
  %y = onnx.Add %straight, %turned : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
