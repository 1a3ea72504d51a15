// RUN: sparse-opt %s --onnx-raise-attention --split-input-file --verify-diagnostics

// Strictly before: a query does not see itself.
func.func @not_causal(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
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
  %low = onnx.Constant {value = dense<-3.40282347E+38> : tensor<f32>} : () -> tensor<f32>
  %before = onnx.Less %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi1>
  %s = onnx.MatMul %qh, %kt : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %m = onnx.Where %before, %s, %low : (tensor<*xi1>, tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %p = onnx.Softmax %m : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @below {{this attention can't be raised: the mask is no causal mask, window or padding: with 11 past tokens and 5 new ones, query 0 does not see key 11}}
  %y = onnx.MatMul %p, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// -----

// A mask that hides nothing.
func.func @future(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
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
  %low = onnx.Constant {value = dense<-3.40282347E+38> : tensor<f32>} : () -> tensor<f32>
  %all = onnx.GreaterOrEqual %keys, %i0 : (tensor<*xi64>, tensor<i64>) -> tensor<*xi1>
  %s = onnx.MatMul %qh, %kt : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %m = onnx.Where %all, %s, %low : (tensor<*xi1>, tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %p = onnx.Softmax %m : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @below {{this attention can't be raised: the mask is no causal mask, window or padding: with 11 past tokens and 5 new ones, query 0 sees key 12}}
  %y = onnx.MatMul %p, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// -----

// Distances added to the scores.
func.func @bias(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
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
  %low = onnx.Constant {value = dense<-3.40282347E+38> : tensor<f32>} : () -> tensor<f32>
  %far = onnx.Sub %keys, %queries : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %slope = onnx.Cast %far {to = 1 : i64} : (tensor<*xi64>) -> tensor<*xf32>
  %s0 = onnx.MatMul %qh, %kt : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %s = onnx.Add %s0, %slope : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %m = onnx.Where %causal, %s, %low : (tensor<*xi1>, tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %p = onnx.Softmax %m : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @below {{this attention can't be raised: the mask is no causal mask, window or padding: with 11 past tokens and 5 new ones, query 0 adds a bias to key 0}}
  %y = onnx.MatMul %p, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// -----

// Query head h on KV head h mod 2.
func.func @interleaved_heads(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
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
  %index = onnx.Constant {value = dense<[0, 1, 0, 1]> : tensor<4xi64>} : () -> tensor<4xi64>
  %kr = onnx.Gather %kc, %index {axis = 1 : i64} : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %vr = onnx.Gather %vc, %index {axis = 1 : i64} : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %kt = onnx.Transpose %kr {perm = array<i64: 0, 1, 3, 2>} : (tensor<*xf32>) -> tensor<*xf32>
  %low = onnx.Constant {value = dense<-3.40282347E+38> : tensor<f32>} : () -> tensor<f32>
  %s = onnx.MatMul %qh, %kt : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %m = onnx.Where %causal, %s, %low : (tensor<*xi1>, tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %p = onnx.Softmax %m : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @below {{this attention can't be raised: the keys are not the cache's heads, each repeated for a group of consecutive query heads}}
  %y = onnx.MatMul %p, %vr : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// -----

// Causal from the top left although there is a past.
func.func @top_left(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %pk: tensor<?x2x?x16xf32>, %pv: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
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
  // expected-error @below {{this attention can't be raised: the mask is no causal mask, window or padding: with 11 past tokens and 5 new ones, query 0 does not see key 1}}
  %y, %nk, %nv, %qk = onnx.Attention %qh, %kr, %vr, %none, %none, %none, %none {is_causal = 1 : i64}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none, none, none, none) -> (tensor<*xf32>, none, none, none)
  %back = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %yt = onnx.Transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %y3 = onnx.Reshape %yt, %back : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y3, %kc, %vc : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// -----

// Without a cache there is nothing to decode with.
func.func @no_cache(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>,
    %mask: tensor<?x?xi64> {onnx.name = "attention_mask"}) -> tensor<*xf32> {
  %none = onnx.NoValue
  // expected-error @below {{this attention can't be raised: the keys do not come from a cache: a Concat of a past input and new rows}}
  %y, %nk, %nv, %qk = onnx.Attention %q, %k, %v, %none, %none, %none, %none
    {q_num_heads = 4 : i64, kv_num_heads = 2 : i64, is_causal = 1 : i64}
    : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, none, none, none) -> (tensor<*xf32>, none, none, none)
  return %y : tensor<*xf32>
}
