// Folding meets the views around the raised op with the exporter's.
// RUN: sparse-opt %s --onnx-raise-attention --onnx-fold-constants | FileCheck %s

// Half of the scale on either side, a boolean mask as zero and minus infinity, the guard against rows that see nothing.
// CHECK-LABEL: func.func @traced
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x64xf32>, %[[K:.*]]: tensor<?x?x32xf32>, %[[V:.*]]: tensor<?x?x32xf32>, %[[PK:.*]]: tensor<?x2x?x16xf32>, %[[PV:[^ ]*]]: tensor<?x2x?x16xf32>
func.func @traced(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.Softmax
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention %[[Q]], %[[K]], %[[V]], %{{.*}}, %[[PK]], %[[PV]], %{{.*}} {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64, scale = 2.500000e-01 : f32}
  // CHECK-NEXT: return %[[Y]], %[[NK]], %[[NV]]
  %i0 = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %i1 = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %i2 = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %ps = onnx.Shape %pk : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
  %past = onnx.Gather %ps, %i2 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %qs = onnx.Shape %q : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %new = onnx.Gather %qs, %i1 : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  %total = onnx.Add %past, %new : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %keys = onnx.Range %i0, %total, %i1 : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %qr = onnx.Range %past, %total, %i1 : (tensor<*xi64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %queries = onnx.Unsqueeze %qr, %one : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %causal = onnx.LessOrEqual %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %split4 = onnx.Constant {value = dense<[0, 0, 4, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %split2 = onnx.Constant {value = dense<[0, 0, 2, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %qa = onnx.Reshape %q, %split4 : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<*xf32>
  %ka = onnx.Reshape %k, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %va = onnx.Reshape %v, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %qh = onnx.Transpose %qa {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kh = onnx.Transpose %ka {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %vh = onnx.Transpose %va {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kc = onnx.Concat %pk, %kh {axis = 2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %vc = onnx.Concat %pv, %vh {axis = -2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %groups = onnx.Constant {value = dense<[1, 1, 2, 1, 1]> : tensor<5xi64>} : () -> tensor<5xi64>
  %joined = onnx.Constant {value = dense<[0, 4, -1, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %axis2 = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %ku = onnx.Unsqueeze %kc, %axis2 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %ke = onnx.Expand %ku, %groups : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
  %kr = onnx.Reshape %ke, %joined : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %vu = onnx.Unsqueeze %vc, %axis2 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %ve = onnx.Expand %vu, %groups : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
  %vr = onnx.Reshape %ve, %joined : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %kt = onnx.Transpose %kr {perm = array<i64: 0, 1, 3, 2>} : (tensor<*xf32>) -> tensor<*xf32>
  %zero = onnx.Constant {value = dense<0.0> : tensor<1xf32>} : () -> tensor<1xf32>
  %inf = onnx.Constant {value = dense<0xFF800000> : tensor<1xf32>} : () -> tensor<1xf32>
  %half = onnx.Constant {value = dense<0.5> : tensor<f32>} : () -> tensor<f32>
  %q1 = onnx.Mul %qh, %half : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %k1 = onnx.Mul %kt, %half : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %s = onnx.MatMul %q1, %k1 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %bias = onnx.Where %causal, %zero, %inf : (tensor<*xi1>, tensor<1xf32>, tensor<1xf32>) -> tensor<*xf32>
  %m = onnx.Add %s, %bias : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %p = onnx.Softmax %m : (tensor<*xf32>) -> tensor<*xf32>
  %nan = onnx.IsNaN %p : (tensor<*xf32>) -> tensor<*xi1>
  %g = onnx.Where %nan, %zero, %p : (tensor<*xi1>, tensor<1xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.MatMul %g, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// Scores over a divisor, capped; padding hidden too.
// CHECK-LABEL: func.func @softcap
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x64xf32>, %[[K:.*]]: tensor<?x?x32xf32>, %[[V:.*]]: tensor<?x?x32xf32>, %[[PK:.*]]: tensor<?x2x?x16xf32>, %[[PV:[^ ]*]]: tensor<?x2x?x16xf32>
func.func @softcap(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>, %attention_mask: tensor<?x?xi64> {onnx.name = "attention_mask"}) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.Softmax
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention %[[Q]], %[[K]], %[[V]], %{{.*}}, %[[PK]], %[[PV]], %{{.*}} {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64, scale = 2.500000e-01 : f32, softcap = 5.000000e+01 : f32}
  // CHECK-NEXT: return %[[Y]], %[[NK]], %[[NV]]
  %i0 = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %i1 = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %i2 = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %ps = onnx.Shape %pk : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
  %past = onnx.Gather %ps, %i2 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %qs = onnx.Shape %q : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %new = onnx.Gather %qs, %i1 : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  %total = onnx.Add %past, %new : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %keys = onnx.Range %i0, %total, %i1 : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %qr = onnx.Range %past, %total, %i1 : (tensor<*xi64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %queries = onnx.Unsqueeze %qr, %one : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %causal = onnx.LessOrEqual %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %split4 = onnx.Constant {value = dense<[0, 0, 4, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %split2 = onnx.Constant {value = dense<[0, 0, 2, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %qa = onnx.Reshape %q, %split4 : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<*xf32>
  %ka = onnx.Reshape %k, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %va = onnx.Reshape %v, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %qh = onnx.Transpose %qa {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kh = onnx.Transpose %ka {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %vh = onnx.Transpose %va {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kc = onnx.Concat %pk, %kh {axis = 2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %vc = onnx.Concat %pv, %vh {axis = -2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %groups = onnx.Constant {value = dense<[1, 1, 2, 1, 1]> : tensor<5xi64>} : () -> tensor<5xi64>
  %joined = onnx.Constant {value = dense<[0, 4, -1, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %axis2 = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %ku = onnx.Unsqueeze %kc, %axis2 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %ke = onnx.Expand %ku, %groups : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
  %kr = onnx.Reshape %ke, %joined : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %vu = onnx.Unsqueeze %vc, %axis2 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %ve = onnx.Expand %vu, %groups : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
  %vr = onnx.Reshape %ve, %joined : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %kt = onnx.Transpose %kr {perm = array<i64: 0, 1, 3, 2>} : (tensor<*xf32>) -> tensor<*xf32>
  %four = onnx.Constant {value = dense<4.0> : tensor<f32>} : () -> tensor<f32>
  %cap = onnx.Constant {value = dense<50.0> : tensor<f32>} : () -> tensor<f32>
  %low = onnx.Constant {value = dense<-3.40282347E+38> : tensor<f32>} : () -> tensor<f32>
  %axes = onnx.Constant {value = dense<[1, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
  %tokens = onnx.Cast %attention_mask {to = 9 : i64} : (tensor<?x?xi64>) -> tensor<*xi1>
  %t4 = onnx.Unsqueeze %tokens, %axes : (tensor<*xi1>, tensor<2xi64>) -> tensor<*xi1>
  %both = onnx.And %causal, %t4 : (tensor<*xi1>, tensor<*xi1>) -> tensor<*xi1>
  %s = onnx.MatMul %qh, %kt : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %d = onnx.Div %s, %four : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %c = onnx.Div %d, %cap : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %t = onnx.Tanh %c : (tensor<*xf32>) -> tensor<*xf32>
  %u = onnx.Mul %t, %cap : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %m = onnx.Where %both, %u, %low : (tensor<*xi1>, tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %p = onnx.Softmax %m {axis = 3 : i64} : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.MatMul %p, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// A query sees itself and the eight keys before it. No scale; heads repeated by Gather.
// CHECK-LABEL: func.func @window
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x64xf32>, %[[K:.*]]: tensor<?x?x32xf32>, %[[V:.*]]: tensor<?x?x32xf32>, %[[PK:.*]]: tensor<?x2x?x16xf32>, %[[PV:[^ ]*]]: tensor<?x2x?x16xf32>
func.func @window(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.Softmax
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention %[[Q]], %[[K]], %[[V]], %{{.*}}, %[[PK]], %[[PV]], %{{.*}} {is_causal = 1 : i64, kv_num_heads = 2 : i64, left_window_size = 8 : i64, q_num_heads = 4 : i64, scale = 1.000000e+00 : f32}
  // CHECK-NEXT: return %[[Y]], %[[NK]], %[[NV]]
  %i0 = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %i1 = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %i2 = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %ps = onnx.Shape %pk : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
  %past = onnx.Gather %ps, %i2 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %qs = onnx.Shape %q : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %new = onnx.Gather %qs, %i1 : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  %total = onnx.Add %past, %new : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %keys = onnx.Range %i0, %total, %i1 : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %qr = onnx.Range %past, %total, %i1 : (tensor<*xi64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %queries = onnx.Unsqueeze %qr, %one : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %causal = onnx.LessOrEqual %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %split4 = onnx.Constant {value = dense<[0, 0, 4, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %split2 = onnx.Constant {value = dense<[0, 0, 2, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %qa = onnx.Reshape %q, %split4 : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<*xf32>
  %ka = onnx.Reshape %k, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %va = onnx.Reshape %v, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %qh = onnx.Transpose %qa {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kh = onnx.Transpose %ka {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %vh = onnx.Transpose %va {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kc = onnx.Concat %pk, %kh {axis = 2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %vc = onnx.Concat %pv, %vh {axis = -2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %index = onnx.Constant {value = dense<[0, 0, 1, 1]> : tensor<4xi64>} : () -> tensor<4xi64>
  %kr = onnx.Gather %kc, %index {axis = 1 : i64} : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %vr = onnx.Gather %vc, %index {axis = 1 : i64} : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %kt = onnx.Transpose %kr {perm = array<i64: 0, 1, 3, 2>} : (tensor<*xf32>) -> tensor<*xf32>
  %zero = onnx.Constant {value = dense<0.0> : tensor<1xf32>} : () -> tensor<1xf32>
  %inf = onnx.Constant {value = dense<0xFF800000> : tensor<1xf32>} : () -> tensor<1xf32>
  %nine = onnx.Constant {value = dense<9> : tensor<i64>} : () -> tensor<i64>
  %oldest = onnx.Sub %queries, %nine : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %near = onnx.Greater %keys, %oldest : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %both = onnx.And %causal, %near : (tensor<*xi1>, tensor<*xi1>) -> tensor<*xi1>
  %s = onnx.MatMul %qh, %kt : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %bias = onnx.Where %both, %zero, %inf : (tensor<*xi1>, tensor<1xf32>, tensor<1xf32>) -> tensor<*xf32>
  %m = onnx.Add %bias, %s : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %p = onnx.Softmax %m : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.MatMul %p, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// The operator on 4-D operands with a boolean mask, over heads repeated outside.
// CHECK-LABEL: func.func @operator
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x64xf32>, %[[K:.*]]: tensor<?x?x32xf32>, %[[V:.*]]: tensor<?x?x32xf32>, %[[PK:.*]]: tensor<?x2x?x16xf32>, %[[PV:[^ ]*]]: tensor<?x2x?x16xf32>
func.func @operator(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.Softmax
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention %[[Q]], %[[K]], %[[V]], %{{.*}}, %[[PK]], %[[PV]], %{{.*}} {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64, scale = 2.500000e-01 : f32}
  // CHECK-NEXT: return %[[Y]], %[[NK]], %[[NV]]
  %i0 = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %i1 = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %i2 = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %ps = onnx.Shape %pk : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
  %past = onnx.Gather %ps, %i2 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %qs = onnx.Shape %q : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %new = onnx.Gather %qs, %i1 : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  %total = onnx.Add %past, %new : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %keys = onnx.Range %i0, %total, %i1 : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %qr = onnx.Range %past, %total, %i1 : (tensor<*xi64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %queries = onnx.Unsqueeze %qr, %one : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %causal = onnx.LessOrEqual %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %split4 = onnx.Constant {value = dense<[0, 0, 4, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %split2 = onnx.Constant {value = dense<[0, 0, 2, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %qa = onnx.Reshape %q, %split4 : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<*xf32>
  %ka = onnx.Reshape %k, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %va = onnx.Reshape %v, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %qh = onnx.Transpose %qa {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kh = onnx.Transpose %ka {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %vh = onnx.Transpose %va {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kc = onnx.Concat %pk, %kh {axis = 2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %vc = onnx.Concat %pv, %vh {axis = -2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %groups = onnx.Constant {value = dense<[1, 1, 2, 1, 1]> : tensor<5xi64>} : () -> tensor<5xi64>
  %joined = onnx.Constant {value = dense<[0, 4, -1, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %axis2 = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %ku = onnx.Unsqueeze %kc, %axis2 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %ke = onnx.Expand %ku, %groups : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
  %kr = onnx.Reshape %ke, %joined : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %vu = onnx.Unsqueeze %vc, %axis2 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %ve = onnx.Expand %vu, %groups : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
  %vr = onnx.Reshape %ve, %joined : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %none = onnx.NoValue
  %y, %nk, %nv, %qk = onnx.Attention %qh, %kr, %vr, %causal, %none, %none, %none {scale = 0.25 : f32}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xi1>, none, none, none) -> (tensor<*xf32>, none, none, none)
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// The same with grouped heads of its own and the default scale.
// CHECK-LABEL: func.func @grouped_operator
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x64xf32>, %[[K:.*]]: tensor<?x?x32xf32>, %[[V:.*]]: tensor<?x?x32xf32>, %[[PK:.*]]: tensor<?x2x?x16xf32>, %[[PV:[^ ]*]]: tensor<?x2x?x16xf32>
func.func @grouped_operator(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.Softmax
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention %[[Q]], %[[K]], %[[V]], %{{.*}}, %[[PK]], %[[PV]], %{{.*}} {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64, scale = 2.500000e-01 : f32}
  // CHECK-NEXT: return %[[Y]], %[[NK]], %[[NV]]
  %i0 = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %i1 = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %i2 = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %ps = onnx.Shape %pk : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
  %past = onnx.Gather %ps, %i2 : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %qs = onnx.Shape %q : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %new = onnx.Gather %qs, %i1 : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  %total = onnx.Add %past, %new : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %keys = onnx.Range %i0, %total, %i1 : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %qr = onnx.Range %past, %total, %i1 : (tensor<*xi64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %queries = onnx.Unsqueeze %qr, %one : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %causal = onnx.LessOrEqual %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %split4 = onnx.Constant {value = dense<[0, 0, 4, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %split2 = onnx.Constant {value = dense<[0, 0, 2, 16]> : tensor<4xi64>} : () -> tensor<4xi64>
  %qa = onnx.Reshape %q, %split4 : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<*xf32>
  %ka = onnx.Reshape %k, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %va = onnx.Reshape %v, %split2 : (tensor<?x?x32xf32>, tensor<4xi64>) -> tensor<*xf32>
  %qh = onnx.Transpose %qa {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kh = onnx.Transpose %ka {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %vh = onnx.Transpose %va {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %kc = onnx.Concat %pk, %kh {axis = 2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %vc = onnx.Concat %pv, %vh {axis = -2 : i64} : (tensor<?x2x?x16xf32>, tensor<*xf32>) -> tensor<*xf32>
  %none = onnx.NoValue
  %y, %nk, %nv, %qk = onnx.Attention %qh, %kc, %vc, %causal, %none, %none, %none
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xi1>, none, none, none) -> (tensor<*xf32>, none, none, none)
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// Causal by attribute and by mask, with past and present: only the mask goes.
// CHECK-LABEL: func.func @causal_and_mask
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x64xf32>, %[[K:.*]]: tensor<?x?x32xf32>, %[[V:.*]]: tensor<?x?x32xf32>, %[[PK:.*]]: tensor<?x2x?x16xf32>, %[[PV:[^ ]*]]: tensor<?x2x?x16xf32>
func.func @causal_and_mask(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>, %attention_mask: tensor<?x?xi64> {onnx.name = "attention_mask"}) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.Unsqueeze
  // CHECK: %[[Y:.*]], %[[NK:.*]], %[[NV:.*]], %{{.*}} = onnx.Attention %[[Q]], %[[K]], %[[V]], %{{.*}}, %[[PK]], %[[PV]], %{{.*}} {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64, scale = 2.500000e-01 : f32}
  // CHECK-NEXT: return %[[Y]], %[[NK]], %[[NV]]
  %none = onnx.NoValue
  %axes = onnx.Constant {value = dense<[1, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
  %tokens = onnx.Cast %attention_mask {to = 9 : i64} : (tensor<?x?xi64>) -> tensor<*xi1>
  %mask = onnx.Unsqueeze %tokens, %axes : (tensor<*xi1>, tensor<2xi64>) -> tensor<*xi1>
  %y, %nk, %nv, %qk = onnx.Attention %q, %k, %v, %mask, %pk, %pv, %none
    {is_causal = 1 : i64, q_num_heads = 4 : i64, kv_num_heads = 2 : i64}
    : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, tensor<*xi1>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
    -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none)
  return %y, %nk, %nv : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// A softmax that is no attention.
// CHECK-LABEL: func.func @router
func.func @router(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.Softmax
  %p = onnx.Softmax %x : (tensor<?x?x64xf32>) -> tensor<*xf32>
  return %p : tensor<*xf32>
}
