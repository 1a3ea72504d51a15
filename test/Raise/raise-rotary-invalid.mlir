// RUN: sparse-opt %s --onnx-raise-rotary --split-input-file --verify-diagnostics

// Frequencies that change with the position: no table holds them.
func.func @dynamic(%x: tensor<?x?x12xf32>, %p: tensor<?x?xi64> {onnx.name = "position_ids"}) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  %xh = onnx.Transpose %x4 {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %none = onnx.NoValue
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %f = onnx.Constant {value = dense<[1.0, 0.25]> : tensor<2xf32>} : () -> tensor<2xf32>
  %g = onnx.Constant {value = dense<[1.0, 0.125]> : tensor<2xf32>} : () -> tensor<2xf32>
  %limit = onnx.Constant {value = dense<4096> : tensor<i64>} : () -> tensor<i64>
  %m = onnx.ReduceMax %p, %none {keepdims = 0 : i64} : (tensor<?x?xi64>, none) -> tensor<*xi64>
  %long = onnx.Greater %m, %limit : (tensor<*xi64>, tensor<i64>) -> tensor<*xi1>
  %w = onnx.Where %long, %g, %f : (tensor<*xi1>, tensor<2xf32>, tensor<2xf32>) -> tensor<*xf32>
  %u = onnx.Unsqueeze %p, %two : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<*xi64>
  %pf = onnx.Cast %u {to = 1 : i64} : (tensor<*xi64>) -> tensor<*xf32>
  %a = onnx.Mul %pf, %w : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Cos %a : (tensor<*xf32>) -> tensor<*xf32>
  %s = onnx.Sin %a : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @below {{this rotary embedding follows no fixed table: at position}}
  %y = onnx.RotaryEmbedding %xh, %c, %s, %none : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A sine of another angle.
func.func @mismatch(%x: tensor<?x?x12xf32>, %p: tensor<?x?xi64> {onnx.name = "position_ids"}) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  %xh = onnx.Transpose %x4 {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %none = onnx.NoValue
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %f = onnx.Constant {value = dense<[1.0, 0.25]> : tensor<2xf32>} : () -> tensor<2xf32>
  %u = onnx.Unsqueeze %p, %two : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<*xi64>
  %pf = onnx.Cast %u {to = 1 : i64} : (tensor<*xi64>) -> tensor<*xf32>
  %a = onnx.Mul %pf, %f : (tensor<*xf32>, tensor<2xf32>) -> tensor<*xf32>
  %n = onnx.Neg %a : (tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Cos %a : (tensor<*xf32>) -> tensor<*xf32>
  %s = onnx.Sin %n : (tensor<*xf32>) -> tensor<*xf32>
  // expected-error @below {{is turned by another angle than position times 1}}
  %y = onnx.RotaryEmbedding %xh, %c, %s, %none : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Values from outside.
func.func @unknown(%x: tensor<?x?x12xf32>, %c: tensor<?x?x2xf32>, %s: tensor<?x?x2xf32>) -> tensor<*xf32> {
  %split = onnx.Constant {value = dense<[0, 0, 3, 4]> : tensor<4xi64>} : () -> tensor<4xi64>
  %x4 = onnx.Reshape %x, %split : (tensor<?x?x12xf32>, tensor<4xi64>) -> tensor<*xf32>
  %xh = onnx.Transpose %x4 {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %none = onnx.NoValue
  // expected-error @below {{takes cosines that are neither rows of a table weight nor computed from positions alone}}
  %y = onnx.RotaryEmbedding %xh, %c, %s, %none : (tensor<*xf32>, tensor<?x?x2xf32>, tensor<?x?x2xf32>, none) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
