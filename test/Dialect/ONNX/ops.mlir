// RUN: sparse-opt %s | sparse-opt | FileCheck %s
// RUN: sparse-opt %s --mlir-print-op-generic | sparse-opt | FileCheck %s

// CHECK: onnx.initializer @w : tensor<4x4xf32> file "w.bin" offset 64 length 64 {onnx.name = "layer/w"}
onnx.initializer @w : tensor<4x4xf32> file "w.bin" offset 64 length 64 {onnx.name = "layer/w"}
// CHECK: onnx.initializer @hashed : tensor<2xi1> file "w.bin" offset 0 length 2 sha256 "00ff"
onnx.initializer @hashed : tensor<2xi1> file "w.bin" offset 0 length 2 sha256 "00ff"
// CHECK: onnx.initializer @inline : tensor<2xf32> value dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf32>
onnx.initializer @inline : tensor<2xf32> value dense<[1.0, 2.0]> : tensor<2xf32>
// CHECK: onnx.derived @t from [@w] steps [#onnx.transpose<[1, 0]>] : tensor<4x4xf32>
onnx.derived @t from [@w] steps [#onnx.transpose<[1, 0]>] : tensor<4x4xf32>
// CHECK: onnx.derived @steps from [@w, @t] steps [#onnx.concat<axis = 0>, #onnx.slice<axis = 0, offset = 1, size = 2>, #onnx.reshape<[4, 2]>, #onnx.cast<bf16>, #onnx.pack<panel = 64>] : tensor<1x4x64xbf16>
onnx.derived @steps from [@w, @t] steps [#onnx.concat<axis = 0>, #onnx.slice<axis = 0, offset = 1, size = 2>, #onnx.reshape<[4, 2]>, #onnx.cast<bf16>, #onnx.pack<panel = 64>] : tensor<1x4x64xbf16>
// CHECK: onnx.derived @cos from [] steps [#onnx.rope_table<fn = cos, inv_freq = [1.00000000e+00, 3.16227764e-01], scale = 1.000000e+00 : f32>] : tensor<8x2xf32>
onnx.derived @cos from [] steps [#onnx.rope_table<fn = cos, inv_freq = [1.0, 0.316227764], scale = 1.0 : f32>] : tensor<8x2xf32>

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x?x4xf32>, %i: tensor<?x?xi64>, %c: tensor<?x1x?x?xi1>, %u: tensor<*xf32>) {
  // CHECK: %[[NONE:.*]] = onnx.NoValue
  %none = onnx.NoValue
  // CHECK: onnx.weight @w : tensor<4x4xf32>
  %w = onnx.weight @w : tensor<4x4xf32>
  // CHECK: onnx.weight @t : tensor<4x4xf32>
  %t = onnx.weight @t : tensor<4x4xf32>
  // CHECK: onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %k = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>

  // Elementwise.
  // CHECK: onnx.Abs %{{.*}} : (tensor<*xf32>) -> tensor<*xf32>
  %0 = onnx.Abs %u : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.IsInf %{{.*}} {detect_negative = 0 : i64} : (tensor<*xf32>) -> tensor<*xi1>
  %1 = onnx.IsInf %u {detect_negative = 0 : i64} : (tensor<*xf32>) -> tensor<*xi1>
  // CHECK: onnx.Gelu %{{.*}} {approximate = "tanh"}
  %2 = onnx.Gelu %u {approximate = "tanh"} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.Swish %{{.*}} {alpha = 2.000000e+00 : f32}
  %3 = onnx.Swish %u {alpha = 2.0 : f32} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.Cast %{{.*}} {to = 10 : i64} : (tensor<*xf32>) -> tensor<*xf16>
  %4 = onnx.Cast %u {to = 10 : i64} : (tensor<*xf32>) -> tensor<*xf16>
  // CHECK: onnx.Softmax %{{.*}} {axis = 1 : i64}
  %5 = onnx.Softmax %u {axis = 1 : i64} : (tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.Trilu %{{.*}}, %[[NONE]] {upper = 0 : i64}
  %6 = onnx.Trilu %u, %none {upper = 0 : i64} : (tensor<*xf32>, none) -> tensor<*xf32>
  // CHECK: onnx.Add %{{.*}}, %{{.*}} : (tensor<*xf32>, tensor<?x?x4xf32>) -> tensor<*xf32>
  %7 = onnx.Add %u, %x : (tensor<*xf32>, tensor<?x?x4xf32>) -> tensor<*xf32>
  // CHECK: onnx.Mod %{{.*}}, %{{.*}} {fmod = 1 : i64}
  %8 = onnx.Mod %u, %u {fmod = 1 : i64} : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.Where
  %9 = onnx.Where %1, %u, %u : (tensor<*xi1>, tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.Max %{{.*}}, %{{.*}}, %{{.*}} :
  %10 = onnx.Max %u, %u, %u : (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  // CHECK: onnx.LessOrEqual
  %11 = onnx.LessOrEqual %u, %u : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xi1>

  // Shapes and data movement.
  // CHECK: onnx.ConstantOfShape %{{.*}} {value = dense<0> : tensor<1xi64>}
  %20 = onnx.ConstantOfShape %k {value = dense<0> : tensor<1xi64>} : (tensor<1xi64>) -> tensor<?xi64>
  // CHECK: onnx.Shape %{{.*}} {end = 2 : i64, start = 1 : i64}
  %21 = onnx.Shape %x {start = 1 : i64, end = 2 : i64} : (tensor<?x?x4xf32>) -> tensor<1xi64>
  // CHECK: onnx.Reshape
  %22 = onnx.Reshape %x, %k : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?xf32>
  // CHECK: onnx.Flatten %{{.*}} {axis = 2 : i64} : (tensor<?x?x4xf32>) -> tensor<?x4xf32>
  %23 = onnx.Flatten %x {axis = 2 : i64} : (tensor<?x?x4xf32>) -> tensor<?x4xf32>
  // CHECK: onnx.Transpose %{{.*}} {perm = array<i64: 1, 0, 2>}
  %24 = onnx.Transpose %x {perm = array<i64: 1, 0, 2>} : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  // CHECK: onnx.Concat %{{.*}}, %{{.*}} {axis = 1 : i64}
  %25 = onnx.Concat %x, %x {axis = 1 : i64} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  // CHECK: onnx.Slice %{{.*}}, %{{.*}}, %{{.*}}, %[[NONE]], %[[NONE]]
  %26 = onnx.Slice %x, %k, %k, %none, %none : (tensor<?x?x4xf32>, tensor<1xi64>, tensor<1xi64>, none, none) -> tensor<*xf32>
  // CHECK: %{{.*}}:2 = onnx.Split %{{.*}}, %[[NONE]] {axis = -1 : i64, num_outputs = 2 : i64}
  %27:2 = onnx.Split %x, %none {axis = -1 : i64, num_outputs = 2 : i64} : (tensor<?x?x4xf32>, none) -> (tensor<?x?x2xf32>, tensor<?x?x2xf32>)
  // CHECK: onnx.Gather %{{.*}}, %{{.*}} {axis = 1 : i64}
  %28 = onnx.Gather %w, %i {axis = 1 : i64} : (tensor<4x4xf32>, tensor<?x?xi64>) -> tensor<4x?x?xf32>
  // CHECK: onnx.ReduceMean %{{.*}}, %[[NONE]] {keepdims = 0 : i64}
  %29 = onnx.ReduceMean %x, %none {keepdims = 0 : i64} : (tensor<?x?x4xf32>, none) -> tensor<f32>

  // Products, norms, attention.
  // CHECK: onnx.MatMul
  %40 = onnx.MatMul %x, %w : (tensor<?x?x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
  // CHECK: onnx.Gemm %{{.*}}, %{{.*}}, %[[NONE]] {transB = 1 : i64}
  %41 = onnx.Gemm %w, %t, %none {transB = 1 : i64} : (tensor<4x4xf32>, tensor<4x4xf32>, none) -> tensor<4x4xf32>
  // CHECK: onnx.RMSNormalization %{{.*}}, %{{.*}} {epsilon = 9.99999997E-7 : f32}
  %42 = onnx.RMSNormalization %x, %u {epsilon = 1.0e-6 : f32} : (tensor<?x?x4xf32>, tensor<*xf32>) -> tensor<?x?x4xf32>
  // CHECK: onnx.SkipSimplifiedLayerNormalization {{.*}} -> (tensor<?x?x4xf32>, none, none, tensor<?x?x4xf32>)
  %43:4 = onnx.SkipSimplifiedLayerNormalization %x, %x, %u, %none : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<*xf32>, none) -> (tensor<?x?x4xf32>, none, none, tensor<?x?x4xf32>)
  // CHECK: onnx.RotaryEmbedding {{.*}} {num_heads = 2 : i64}
  %44 = onnx.RotaryEmbedding %x, %u, %u, %i {num_heads = 2 : i64} : (tensor<?x?x4xf32>, tensor<*xf32>, tensor<*xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  // CHECK: onnx.Attention {{.*}} {is_causal = 1 : i64, kv_num_heads = 1 : i64, left_window_size = 7 : i64, q_num_heads = 2 : i64}
  %45:4 = onnx.Attention %x, %x, %x, %c, %none, %none, %none {is_causal = 1 : i64, q_num_heads = 2 : i64, kv_num_heads = 1 : i64, left_window_size = 7 : i64} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x1x?x?xi1>, none, none, none) -> (tensor<?x?x4xf32>, none, none, none)

  // Anything else.
  // CHECK: onnx.node "Conv" domain ""(%{{.*}}, %[[NONE]]) {onnx_attrs = {group = 1 : i64}} : (tensor<*xf32>, none) -> tensor<*xf32>
  %60 = onnx.node "Conv" domain "" (%u, %none) {onnx_attrs = {group = 1 : i64}} : (tensor<*xf32>, none) -> tensor<*xf32>
  return
}
