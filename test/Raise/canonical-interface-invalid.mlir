// RUN: sparse-opt %s --onnx-canonical-interface --split-input-file --verify-diagnostics

// expected-error @below {{has no input of token ids: a rank-2 integer tensor that gathers rows of the embedding}}
func.func @no_ids(%x: tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  return %x : tensor<?x?x32xf32>
}

// -----

onnx.initializer @embed : tensor<320x32xf32> file "w" offset 0 length 40960
func.func @no_cache(%ids: tensor<?x?xi64>) -> tensor<*xf32> {
  %none = onnx.NoValue
  %w = onnx.weight @embed : tensor<320x32xf32>
  %x = onnx.Gather %w, %ids : (tensor<320x32xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  // expected-error @below {{this attention has no cache: its past key and past value must be inputs of the model}}
  %y, %nk, %nv, %s = onnx.Attention %x, %x, %x, %none, %none, %none, %none {is_causal = 1 : i64, q_num_heads = 2 : i64, kv_num_heads = 2 : i64}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none, none, none, none) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none)
  return %y : tensor<*xf32>
}

// -----

onnx.initializer @embed : tensor<320x32xf32> file "w" offset 0 length 40960
func.func @shared_cache(%ids: tensor<?x?xi64>, %k: tensor<?x2x?x16xf32>) -> tensor<*xf32> {
  %none = onnx.NoValue
  %w = onnx.weight @embed : tensor<320x32xf32>
  %x = onnx.Gather %w, %ids : (tensor<320x32xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  // expected-error @below {{this attention shares its cache input with another layer}}
  %y, %nk, %nv, %s = onnx.Attention %x, %x, %x, %none, %k, %k, %none {is_causal = 1 : i64, q_num_heads = 2 : i64, kv_num_heads = 2 : i64}
    : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, none)
  return %y : tensor<*xf32>
}

// -----

onnx.initializer @embed : tensor<320x32xf32> file "w" offset 0 length 40960
func.func @mask_in_use(%ids: tensor<?x?xi64>, %mask: tensor<?x?xi64> {onnx.name = "attention_mask"}) -> tensor<*xf32> {
  %none = onnx.NoValue
  %axes = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %w = onnx.weight @embed : tensor<320x32xf32>
  %x = onnx.Gather %w, %ids : (tensor<320x32xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  // expected-error @below {{this node still reads input 'attention_mask', which has no place in canonical form}}
  %m = onnx.Cast %mask {to = 1 : i64} : (tensor<?x?xi64>) -> tensor<*xf32>
  %u = onnx.Unsqueeze %m, %axes : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %y = onnx.Mul %x, %u : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

onnx.initializer @embed : tensor<320x32xf32> file "w" offset 0 length 40960
func.func @two_results(%ids: tensor<?x?xi64>) -> (tensor<*xf32>, tensor<*xf32>) {
  %w = onnx.weight @embed : tensor<320x32xf32>
  %x = onnx.Gather %w, %ids : (tensor<320x32xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  // expected-error @below {{this result of the model is neither the logits nor the cache of a layer}}
  %y = onnx.Tanh %x : (tensor<*xf32>) -> tensor<*xf32>
  return %x, %y : tensor<*xf32>, tensor<*xf32>
}
