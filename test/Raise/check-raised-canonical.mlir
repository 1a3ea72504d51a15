// RUN: sparse-opt %s --onnx-check-raised

// Canonical operators pass.
onnx.initializer @w : tensor<64x64xf32> file "w" offset 0 length 16384
onnx.initializer @n : tensor<64xf32> file "w" offset 0 length 256
func.func @main(%ids: tensor<?x?xi64>, %p: tensor<?x?xi64>, %pk: tensor<?x4x?x16xf32>, %pv: tensor<?x4x?x16xf32>) {
  %none = onnx.NoValue
  %w = onnx.weight @w : tensor<64x64xf32>
  %n = onnx.weight @n : tensor<64xf32>
  %x = onnx.Gather %w, %ids : (tensor<64x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %m = onnx.RMSNormalization %x, %n : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32>
  %q = onnx.MatMul %m, %w : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32>
  %b = onnx.Add %q, %n : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32>
  %y, %nk, %nv, %s = onnx.Attention %b, %b, %b, %none, %pk, %pv, %none {is_causal = 1 : i64, q_num_heads = 4 : i64, kv_num_heads = 4 : i64}
    : (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>, none, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, none)
    -> (tensor<?x?x64xf32>, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, none)
  return
}
