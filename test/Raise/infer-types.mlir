// RUN: sparse-opt %s --onnx-infer-types | FileCheck %s

onnx.initializer @w : tensor<64x128xf32> file "w" offset 0 length 32768

// CHECK-LABEL: func.func @types
// CHECK-SAME: -> (tensor<?x?x128xf32>, tensor<?x2x?x16xf32>, tensor<4xi64>)
func.func @types(%x: tensor<?x?x64xf32>, %past: tensor<?x2x?x16xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xi64>) {
  // CHECK: onnx.MatMul {{.*}} -> tensor<?x?x128xf32>
  // CHECK: onnx.Concat {{.*}} -> tensor<?x2x?x16xf32>
  // CHECK: onnx.Shape {{.*}} -> tensor<4xi64>
  %w = onnx.weight @w : tensor<64x128xf32>
  %y = onnx.MatMul %x, %w : (tensor<?x?x64xf32>, tensor<64x128xf32>) -> tensor<*xf32>
  %c = onnx.Concat %past, %past {axis = 2 : i64} : (tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>) -> tensor<*xf32>
  %s = onnx.Shape %past : (tensor<?x2x?x16xf32>) -> tensor<*xi64>
  return %y, %c, %s : tensor<*xf32>, tensor<*xf32>, tensor<*xi64>
}

// What can't be told stays unranked.
// CHECK-LABEL: func.func @unknown
// CHECK-SAME: -> tensor<*xf32>
func.func @unknown(%x: tensor<*xf32>) -> tensor<*xf32> {
  %y = onnx.Tanh %x : (tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
