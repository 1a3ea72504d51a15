// RUN: sparse-opt %s --onnx-raise-activation | FileCheck %s

// CHECK-LABEL: func.func @silu
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>)
func.func @silu(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK-NEXT: %[[Y:.*]] = onnx.Swish %[[X]] :
  // CHECK-NEXT: return %[[Y]]
  %s = onnx.Sigmoid %x : (tensor<?x?x64xf32>) -> tensor<*xf32>
  %y = onnx.Mul %s, %x : (tensor<*xf32>, tensor<?x?x64xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// CHECK-LABEL: func.func @quick_gelu
func.func @quick_gelu(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.Swish %{{.*}} {alpha = 1.702000e+00 : f32}
  %c = onnx.Constant {value = dense<1.702> : tensor<f32>} : () -> tensor<f32>
  %a = onnx.Mul %x, %c : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %s = onnx.Sigmoid %a : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %x, %s : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// The sigmoid of something else is a gate.
// CHECK-LABEL: func.func @gate
func.func @gate(%x: tensor<?x?x64xf32>, %z: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.Sigmoid
  // CHECK: onnx.Mul
  %s = onnx.Sigmoid %z : (tensor<?x?x64xf32>) -> tensor<*xf32>
  %y = onnx.Mul %x, %s : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// CHECK-LABEL: func.func @gelu_erf
func.func @gelu_erf(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK-NEXT: onnx.Gelu %{{.*}} :
  // CHECK-NEXT: return
  %root = onnx.Constant {value = dense<1.41421354> : tensor<f32>} : () -> tensor<f32>
  %one = onnx.Constant {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %half = onnx.Constant {value = dense<0.5> : tensor<f32>} : () -> tensor<f32>
  %a = onnx.Div %x, %root : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %e = onnx.Erf %a : (tensor<*xf32>) -> tensor<*xf32>
  %p = onnx.Add %e, %one : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %m = onnx.Mul %x, %p : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %m, %half : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// CHECK-LABEL: func.func @gelu_tanh
func.func @gelu_tanh(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK-NEXT: onnx.Gelu %{{.*}} {approximate = "tanh"}
  // CHECK-NEXT: return
  %three = onnx.Constant {value = dense<3.0> : tensor<f32>} : () -> tensor<f32>
  %c = onnx.Constant {value = dense<0.044715> : tensor<f32>} : () -> tensor<f32>
  %k = onnx.Constant {value = dense<0.797884583> : tensor<f32>} : () -> tensor<f32>
  %one = onnx.Constant {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %half = onnx.Constant {value = dense<0.5> : tensor<f32>} : () -> tensor<f32>
  %h = onnx.Mul %x, %half : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %q = onnx.Pow %x, %three : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %d = onnx.Mul %q, %c : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %s = onnx.Add %x, %d : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %i = onnx.Mul %s, %k : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %t = onnx.Tanh %i : (tensor<*xf32>) -> tensor<*xf32>
  %p = onnx.Add %one, %t : (tensor<f32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %h, %p : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// Another constant is another function.
// CHECK-LABEL: func.func @no_gelu
func.func @no_gelu(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK: onnx.Erf
  %root = onnx.Constant {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %one = onnx.Constant {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %half = onnx.Constant {value = dense<0.5> : tensor<f32>} : () -> tensor<f32>
  %a = onnx.Div %x, %root : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %e = onnx.Erf %a : (tensor<*xf32>) -> tensor<*xf32>
  %p = onnx.Add %e, %one : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  %m = onnx.Mul %x, %p : (tensor<?x?x64xf32>, tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.Mul %m, %half : (tensor<*xf32>, tensor<f32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
