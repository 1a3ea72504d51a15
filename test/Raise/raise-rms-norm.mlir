// RUN: sparse-opt %s --onnx-raise-rms-norm | FileCheck %s

onnx.initializer @w : tensor<64xf32> file "w" offset 0 length 256

// CHECK: onnx.initializer @norm.scale : tensor<4xf32> value dense<[1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00]>

// The traced form: casts that do nothing, 1 / sqrt, weight on the left.
// CHECK-LABEL: func.func @traced
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>)
func.func @traced(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK-NEXT: %[[W:.*]] = onnx.weight @w
  // CHECK-NEXT: %[[Y:.*]] = onnx.RMSNormalization %[[X]], %[[W]] {epsilon = 9.99999997E-7 : f32}
  // CHECK-NEXT: return %[[Y]]
  %two = onnx.Constant {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %axes = onnx.Constant {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %eps = onnx.Constant {value = dense<1.0e-6> : tensor<f32>} : () -> tensor<f32>
  %one = onnx.Constant {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %w = onnx.weight @w : tensor<64xf32>
  %c = onnx.Cast %x {to = 1 : i64} : (tensor<?x?x64xf32>) -> tensor<*xf32>
  %s = onnx.Pow %c, %two : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %m = onnx.ReduceMean %s, %axes : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %a = onnx.Add %m, %eps : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %r = onnx.Sqrt %a : (tensor<*xf32>) -> tensor<*xf32>
  %i = onnx.Div %one, %r : (tensor<f32>, tensor<*xf32>) -> tensor<*xf32>
  %n = onnx.Mul %c, %i : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  %d = onnx.Cast %n {to = 1 : i64} : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %w, %d : (tensor<64xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// x / sqrt, square as a product, epsilon on the left, axis from the front, weight on the right.
// CHECK-LABEL: func.func @divided
func.func @divided(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.RMSNormalization
  // CHECK-NOT: onnx.ReduceMean
  // CHECK: return
  %axes = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %eps = onnx.Constant {value = dense<1.0e-5> : tensor<f32>} : () -> tensor<f32>
  %w = onnx.weight @w : tensor<64xf32>
  %s = onnx.Mul %x, %x : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<*xf32>
  %m = onnx.ReduceMean %s, %axes : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %a = onnx.Add %eps, %m : (tensor<f32>, tensor<*xf32>) -> tensor<*xf32>
  %r = onnx.Sqrt %a : (tensor<*xf32>) -> tensor<*xf32>
  %n = onnx.Div %x, %r : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %n, %w : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// rsqrt as a power and as a reciprocal.
// CHECK-LABEL: func.func @powers
func.func @powers(%x: tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK-COUNT-2: onnx.RMSNormalization
  // CHECK: return
  %two = onnx.Constant {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %minus = onnx.Constant {value = dense<-0.5> : tensor<f32>} : () -> tensor<f32>
  %axes = onnx.Constant {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %eps = onnx.Constant {value = dense<1.0e-6> : tensor<f32>} : () -> tensor<f32>
  %w = onnx.weight @w : tensor<64xf32>
  %s = onnx.Pow %x, %two : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %m = onnx.ReduceMean %s, %axes : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %a = onnx.Add %m, %eps : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %p = onnx.Pow %a, %minus : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %n = onnx.Mul %p, %x : (tensor<*xf32>, tensor<?x?x64xf32>) -> tensor<*xf32>
  %y = onnx.Mul %n, %w : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  %r = onnx.Sqrt %a : (tensor<*xf32>) -> tensor<*xf32>
  %i = onnx.Reciprocal %r : (tensor<*xf32>) -> tensor<*xf32>
  %o = onnx.Mul %x, %i : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %z = onnx.Mul %w, %o : (tensor<64xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y, %z : tensor<*xf32>, tensor<*xf32>
}

// A scale that came as a constant becomes a symbol, like every weight.
// CHECK-LABEL: func.func @constant_scale
func.func @constant_scale(%x: tensor<?x?x4xf32>) -> tensor<*xf32> {
  // CHECK: %[[W:.*]] = onnx.weight @norm.scale : tensor<4xf32>
  // CHECK: onnx.RMSNormalization %{{.*}}, %[[W]]
  %w = onnx.Constant {value = dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>} : () -> tensor<4xf32>
  %y = onnx.RMSNormalization %x, %w : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// CHECK-LABEL: func.func @simplified
func.func @simplified(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.RMSNormalization %{{.*}} {epsilon = 9.99999997E-7 : f32}
  %w = onnx.weight @w : tensor<64xf32>
  %y, %i = onnx.SimplifiedLayerNormalization %x, %w {epsilon = 1.0e-6 : f32}
    : (tensor<?x?x64xf32>, tensor<64xf32>) -> (tensor<*xf32>, none)
  return %y : tensor<*xf32>
}

// CHECK-LABEL: func.func @skip
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>, %[[S:.*]]: tensor<?x?x64xf32>)
func.func @skip(%x: tensor<?x?x64xf32>, %s: tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK: %[[SUM:.*]] = onnx.Add %[[X]], %[[S]]
  // CHECK: %[[Y:.*]] = onnx.RMSNormalization %[[SUM]]
  // CHECK: return %[[Y]], %[[SUM]]
  %none = onnx.NoValue
  %w = onnx.weight @w : tensor<64xf32>
  %y, %m, %i, %sum = onnx.SkipSimplifiedLayerNormalization %x, %s, %w, %none
    : (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<64xf32>, none) -> (tensor<*xf32>, none, none, tensor<*xf32>)
  return %y, %sum : tensor<*xf32>, tensor<*xf32>
}

// The mean over another axis, and the mean square of another value, are no RMS norm.
// CHECK-LABEL: func.func @others
func.func @others(%x: tensor<?x?x64xf32>, %z: tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK-NOT: onnx.RMSNormalization
  // CHECK: return
  %two = onnx.Constant {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %axes = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %last = onnx.Constant {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %eps = onnx.Constant {value = dense<1.0e-6> : tensor<f32>} : () -> tensor<f32>
  %w = onnx.weight @w : tensor<64xf32>
  %s = onnx.Pow %x, %two : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %m = onnx.ReduceMean %s, %axes : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %a = onnx.Add %m, %eps : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %r = onnx.Sqrt %a : (tensor<*xf32>) -> tensor<*xf32>
  %n = onnx.Div %x, %r : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %n, %w : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  %m2 = onnx.ReduceMean %s, %last : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
  %a2 = onnx.Add %m2, %eps : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %r2 = onnx.Sqrt %a2 : (tensor<*xf32>) -> tensor<*xf32>
  %n2 = onnx.Div %z, %r2 : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y2 = onnx.Mul %n2, %w : (tensor<*xf32>, tensor<64xf32>) -> tensor<*xf32>
  return %y, %y2 : tensor<*xf32>, tensor<*xf32>
}
