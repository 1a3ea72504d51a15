// RUN: sparse-opt %s --onnx-raise-linear | FileCheck %s

onnx.initializer @embed : tensor<320x64xf32> file "w" offset 0 length 81920
onnx.initializer @qkv : tensor<64x128xf32> file "w" offset 0 length 32768
onnx.initializer @more : tensor<64x64xf32> file "w" offset 0 length 16384
onnx.initializer @half : tensor<64x32xf16> file "w" offset 0 length 4096
onnx.initializer @bias : tensor<320xf32> file "w" offset 0 length 1280

// One recipe, however often it is asked for, on the one initializer.
// CHECK-DAG: onnx.derived @embed.t from [@embed] steps [#onnx.transpose<[1, 0]>] : tensor<64x320xf32>
// CHECK-DAG: onnx.derived @half.cast from [@half] steps [#onnx.cast<f32>] : tensor<64x32xf32>
// CHECK-DAG: onnx.derived @qkv.part from [@qkv] steps [#onnx.slice<axis = 1, offset = 0, size = 96>] : tensor<64x96xf32>
// CHECK-DAG: onnx.derived @qkv.part_0 from [@qkv] steps [#onnx.slice<axis = 1, offset = 96, size = 32>] : tensor<64x32xf32>
// CHECK-DAG: onnx.derived @qkv.part_0.t from [@qkv] steps [#onnx.slice<axis = 1, offset = 96, size = 32>, #onnx.transpose<[1, 0]>]
// CHECK-DAG: onnx.derived @embed.joined from [@embed, @more] steps [#onnx.concat<axis = 0>] : tensor<384x64xf32>
// CHECK-NOT: @embed.t_

// CHECK-LABEL: func.func @tied
func.func @tied(%ids: tensor<?x?xi64>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK: onnx.Gather %{{.*}} : (tensor<320x64xf32>
  // CHECK: %[[W:.*]] = onnx.weight @embed.t : tensor<64x320xf32>
  // CHECK: onnx.MatMul %{{.*}}, %[[W]]
  // CHECK-NOT: onnx.Transpose
  %w = onnx.weight @embed : tensor<320x64xf32>
  %x = onnx.Gather %w, %ids : (tensor<320x64xf32>, tensor<?x?xi64>) -> tensor<*xf32>
  %t = onnx.Transpose %w {perm = array<i64: 1, 0>} : (tensor<320x64xf32>) -> tensor<*xf32>
  %y = onnx.MatMul %x, %t : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %u = onnx.Transpose %w : (tensor<320x64xf32>) -> tensor<*xf32>
  %z = onnx.MatMul %x, %u : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y, %z : tensor<*xf32>, tensor<*xf32>
}

// CHECK-LABEL: func.func @parts
func.func @parts(%x: tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.{{Split|Cast|Slice|Transpose}}
  // CHECK: return
  %none = onnx.NoValue
  %sizes = onnx.Constant {value = dense<[96, 32]> : tensor<2xi64>} : () -> tensor<2xi64>
  %w = onnx.weight @qkv : tensor<64x128xf32>
  %h = onnx.weight @half : tensor<64x32xf16>
  %a, %b = onnx.Split %w, %sizes {axis = 1 : i64} : (tensor<64x128xf32>, tensor<2xi64>) -> (tensor<*xf32>, tensor<*xf32>)
  %c = onnx.Cast %h {to = 1 : i64} : (tensor<64x32xf16>) -> tensor<*xf32>
  %t = onnx.Transpose %b : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.MatMul %x, %a : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %z = onnx.MatMul %x, %b : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %v = onnx.MatMul %x, %c : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y, %z, %v, %t : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
}

// CHECK-LABEL: func.func @gemm
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>)
func.func @gemm(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: %[[M:.*]] = onnx.MatMul %[[X]], %
  // CHECK: %[[A:.*]] = onnx.Add %[[M]], %
  // CHECK: onnx.Reshape %[[A]]
  %rows = onnx.Constant {value = dense<[-1, 64]> : tensor<2xi64>} : () -> tensor<2xi64>
  %w = onnx.weight @embed : tensor<320x64xf32>
  %b = onnx.weight @bias : tensor<320xf32>
  %r = onnx.Reshape %x, %rows : (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<*xf32>
  %y = onnx.Gemm %r, %w, %b {transB = 1 : i64} : (tensor<*xf32>, tensor<320x64xf32>, tensor<320xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// CHECK-LABEL: func.func @flattened
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>)
func.func @flattened(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.MatMul %[[X]], %
  %rows = onnx.Constant {value = dense<[-1, 64]> : tensor<2xi64>} : () -> tensor<2xi64>
  %w = onnx.weight @qkv : tensor<64x128xf32>
  %r = onnx.Reshape %x, %rows : (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<*xf32>
  %y = onnx.MatMul %r, %w : (tensor<*xf32>, tensor<64x128xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// Scaled and activation-transposing products are not linear layers.
// CHECK-LABEL: func.func @other_gemm
func.func @other_gemm(%x: tensor<64x?xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK: onnx.Gemm {{.*}}transA
  // CHECK: onnx.Gemm {{.*}}alpha
  %none = onnx.NoValue
  %w = onnx.weight @qkv : tensor<64x128xf32>
  %y = onnx.Gemm %x, %w, %none {transA = 1 : i64} : (tensor<64x?xf32>, tensor<64x128xf32>, none) -> tensor<*xf32>
  %t = onnx.Transpose %x : (tensor<64x?xf32>) -> tensor<*xf32>
  %z = onnx.Gemm %t, %w, %none {alpha = 2.0 : f32} : (tensor<*xf32>, tensor<64x128xf32>, none) -> tensor<*xf32>
  return %y, %z : tensor<*xf32>, tensor<*xf32>
}

// A transpose of an activation stays, and so does a strided part of a weight.
// CHECK-LABEL: func.func @not_recipes
func.func @not_recipes(%x: tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK: onnx.Transpose
  // CHECK: onnx.Slice
  %none = onnx.NoValue
  %zero = onnx.Constant {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %end = onnx.Constant {value = dense<128> : tensor<1xi64>} : () -> tensor<1xi64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %w = onnx.weight @qkv : tensor<64x128xf32>
  %t = onnx.Transpose %x {perm = array<i64: 0, 2, 1>} : (tensor<?x?x64xf32>) -> tensor<*xf32>
  %s = onnx.Slice %w, %zero, %end, %one, %two : (tensor<64x128xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  return %t, %s : tensor<*xf32>, tensor<*xf32>
}

// CHECK-LABEL: func.func @joined
func.func @joined() -> tensor<*xf32> {
  // CHECK: %[[W:.*]] = onnx.weight @embed.joined
  // CHECK-NEXT: return %[[W]]
  %a = onnx.weight @embed : tensor<320x64xf32>
  %b = onnx.weight @more : tensor<64x64xf32>
  %c = onnx.Concat %a, %b {axis = -2 : i64} : (tensor<320x64xf32>, tensor<64x64xf32>) -> tensor<*xf32>
  return %c : tensor<*xf32>
}
