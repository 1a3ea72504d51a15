// RUN: sparse-opt %s --split-input-file --verify-diagnostics

func.func @f(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{epsilon is -1.000000e+00; it must not be negative}}
  %0 = onnx.RMSNormalization %x, %x {epsilon = -1.0 : f32} : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x2x4xf32>, %n: none) {
  // expected-error @+1 {{needs num_heads for an input without a head dimension}}
  %0 = onnx.RotaryEmbedding %x, %x, %x, %n : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>, none) -> tensor<1x2x4xf32>
  return
}

// -----

func.func @f(%x: tensor<4xf32>, %n: none) {
  // expected-error @+1 {{takes an input of 2 to 4 dimensions, not 1}}
  %0 = onnx.RotaryEmbedding %x, %x, %x, %n {num_heads = 1 : i64} : (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, none) -> tensor<4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x2x4xf32>, %n: none) {
  // expected-error @+1 {{needs q_num_heads and kv_num_heads for 3-D operands}}
  %0:4 = onnx.Attention %x, %x, %x, %n, %n, %n, %n {q_num_heads = 2 : i64} : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>, none, none, none, none) -> (tensor<1x2x4xf32>, none, none, none)
  return
}

// -----

func.func @f(%x: tensor<1x2x4xf32>, %n: none) {
  // expected-error @+1 {{has 4 query heads, which 3 KV heads do not divide}}
  %0:4 = onnx.Attention %x, %x, %x, %n, %n, %n, %n {q_num_heads = 4 : i64, kv_num_heads = 3 : i64} : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>, none, none, none, none) -> (tensor<1x2x4xf32>, none, none, none)
  return
}

// -----

func.func @f(%x: tensor<1x1x2x4xf32>, %n: none) {
  // expected-error @+1 {{needs past_key and past_value together or neither}}
  %0:4 = onnx.Attention %x, %x, %x, %n, %x, %n, %n : (tensor<1x1x2x4xf32>, tensor<1x1x2x4xf32>, tensor<1x1x2x4xf32>, none, tensor<1x1x2x4xf32>, none, none) -> (tensor<1x1x2x4xf32>, none, none, none)
  return
}

// -----

func.func @f(%x: tensor<2xf32>, %n: none) {
  // expected-error @+1 {{operand #1 must be tensor, but got 'none'}}
  %0 = onnx.Add %x, %n : (tensor<2xf32>, none) -> tensor<2xf32>
  return
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error @+1 {{requires attribute 'to'}}
  %0 = onnx.Cast %x : (tensor<2xf32>) -> tensor<2xf32>
  return
}

// -----

// expected-error @+1 {{takes either a file or a value}}
onnx.initializer @w : tensor<2xf32>

// -----

// expected-error @+1 {{takes either a file or a value}}
onnx.initializer @w : tensor<2xf32> file "w" offset 0 length 8 value dense<1.0> : tensor<2xf32>

// -----

// expected-error @+1 {{needs a static shape, has 'tensor<?xf32>'}}
onnx.initializer @w : tensor<?xf32> file "w" offset 0 length 8

// -----

// expected-error @+1 {{names 4 bytes but its type holds 8}}
onnx.initializer @w : tensor<2xf32> file "w" offset 0 length 4

// -----

// expected-error @+1 {{needs offset, length and an integer or float type with its file}}
"onnx.initializer"() <{sym_name = "w", type = tensor<2xf32>, file = "w"}> : () -> ()

// -----

// expected-error @+1 {{has a value of type 'tensor<2xf64>'}}
onnx.initializer @w : tensor<2xf32> value dense<1.0> : tensor<2xf64>

// -----

func.func @f() {
  // expected-error @+1 {{reads @w, which is no onnx.initializer or onnx.derived}}
  %0 = onnx.weight @w : tensor<2xf32>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{reads @f, which is no onnx.initializer or onnx.derived}}
  %0 = onnx.weight @f : tensor<2xf32>
  return
}

// -----

onnx.initializer @w : tensor<2xf32> file "w" offset 0 length 8
func.func @f() {
  // expected-error @+1 {{reads @w of type 'tensor<2xf32>'}}
  %0 = onnx.weight @w : tensor<3xf32>
  return
}
