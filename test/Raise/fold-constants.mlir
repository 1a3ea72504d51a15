// RUN: sparse-opt %s --onnx-fold-constants | FileCheck %s

// Extents that the type fixes fold, whatever arithmetic computes them.
// CHECK-LABEL: func.func @static_extent
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>
func.func @static_extent(%x: tensor<?x?x64xf32>, %past: tensor<?x2x?x16xf32>) -> tensor<*xi64> {
  // CHECK-NEXT: %[[C:.*]] = onnx.Constant {value = dense<[32, 2]> : tensor<2xi64>}
  // CHECK-NEXT: return %[[C]]
  %none = onnx.NoValue
  %two = onnx.Constant {value = dense<2> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %zero = onnx.Constant {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %s = onnx.Shape %x : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %w = onnx.Gather %s, %two : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  %h = onnx.Div %w, %two : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %p = onnx.Shape %past : (tensor<?x2x?x16xf32>) -> tensor<4xi64>
  %heads = onnx.Gather %p, %one : (tensor<4xi64>, tensor<i64>) -> tensor<*xi64>
  %a = onnx.Unsqueeze %h, %zero : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %b = onnx.Unsqueeze %heads, %zero : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %c = onnx.Concat %a, %b {axis = 0 : i64} : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  return %c : tensor<*xi64>
}

// What depends on the batch, the sequence or the past stays.
// CHECK-LABEL: func.func @dynamic_extent
func.func @dynamic_extent(%x: tensor<?x?x64xf32>) -> tensor<*xi64> {
  // CHECK: onnx.Shape
  // CHECK: onnx.Gather
  %one = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %s = onnx.Shape %x : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %n = onnx.Gather %s, %one : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  return %n : tensor<*xi64>
}

// CHECK-LABEL: func.func @same_views
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
func.func @same_views(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK-NEXT: return %[[X]]
  %none = onnx.NoValue
  %split = onnx.Constant {value = dense<[0, 0, 4, -1]> : tensor<4xi64>} : () -> tensor<4xi64>
  %joined = onnx.Constant {value = dense<[0, 0, 64]> : tensor<3xi64>} : () -> tensor<3xi64>
  %a = onnx.Identity %x : (tensor<?x?x64xf32>) -> tensor<*xf32>
  %b = onnx.Cast %a {to = 1 : i64} : (tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Reshape %b, %split : (tensor<*xf32>, tensor<4xi64>) -> tensor<*xf32>
  %d = onnx.Transpose %c {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %e, %m = onnx.Dropout %d, %none, %none : (tensor<*xf32>, none, none) -> (tensor<*xf32>, none)
  %f = onnx.Transpose %e {perm = array<i64: 0, 2, 1, 3>} : (tensor<*xf32>) -> tensor<*xf32>
  %g = onnx.Reshape %f, %joined : (tensor<*xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %g : tensor<*xf32>
}

// Two transposes that don't undo each other, and a view of another shape.
// CHECK-LABEL: func.func @other_views
func.func @other_views(%x: tensor<?x?x4x4xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK: onnx.Transpose
  // CHECK: onnx.Transpose
  // CHECK: onnx.Reshape
  %joined = onnx.Constant {value = dense<[0, 0, 16]> : tensor<3xi64>} : () -> tensor<3xi64>
  %a = onnx.Transpose %x {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x4xf32>) -> tensor<*xf32>
  %b = onnx.Transpose %a {perm = array<i64: 0, 2, 3, 1>} : (tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Reshape %x, %joined : (tensor<?x?x4x4xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %b, %c : tensor<*xf32>, tensor<*xf32>
}

// Neutral operands go, others stay.
// CHECK-LABEL: func.func @neutral
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>)
func.func @neutral(%x: tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>) {
  // CHECK: %[[Y:.*]] = onnx.Sub %{{.*}}, %[[X]]
  // CHECK: return %[[X]], %[[Y]]
  %one = onnx.Constant {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %zero = onnx.Constant {value = dense<0.0> : tensor<1xf32>} : () -> tensor<1xf32>
  %a = onnx.Mul %x, %one : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<*xf32>
  %b = onnx.Add %zero, %a : (tensor<1xf32>, tensor<*xf32>) -> tensor<*xf32>
  %c = onnx.Sub %zero, %x : (tensor<1xf32>, tensor<?x?x64xf32>) -> tensor<*xf32>
  return %b, %c : tensor<*xf32>, tensor<*xf32>
}

// A vector of floats is a weight, not a constant to compute.
onnx.initializer @w : tensor<2xf32> value dense<[1.0, 2.0]> : tensor<2xf32>
// CHECK-LABEL: func.func @weights_stay
func.func @weights_stay() -> tensor<*xf32> {
  // CHECK: onnx.weight @w
  // CHECK: onnx.Add
  %one = onnx.Constant {value = dense<1.0> : tensor<f32>} : () -> tensor<f32>
  %w = onnx.weight @w : tensor<2xf32>
  %a = onnx.Add %w, %one : (tensor<2xf32>, tensor<f32>) -> tensor<*xf32>
  return %a : tensor<*xf32>
}

// The shape that tracing writes for Expand: -1 means "as it is".
// CHECK-LABEL: func.func @expand_shape
func.func @expand_shape(%x: tensor<?x?x64xf32>) -> tensor<*xf32> {
  // CHECK-NOT: onnx.Where
  // CHECK: onnx.Expand
  %shape = onnx.Constant {value = dense<[2, 1, -1, 64]> : tensor<4xi64>} : () -> tensor<4xi64>
  %minus = onnx.Constant {value = dense<-1> : tensor<i64>} : () -> tensor<i64>
  %n = onnx.Shape %shape : (tensor<4xi64>) -> tensor<1xi64>
  %ones = onnx.ConstantOfShape %n {value = dense<1> : tensor<1xi64>} : (tensor<1xi64>) -> tensor<*xi64>
  %m = onnx.Mul %ones, %minus : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
  %k = onnx.Equal %shape, %m : (tensor<4xi64>, tensor<*xi64>) -> tensor<*xi1>
  %s = onnx.Where %k, %ones, %shape : (tensor<*xi1>, tensor<*xi64>, tensor<4xi64>) -> tensor<*xi64>
  %y = onnx.Expand %x, %s : (tensor<?x?x64xf32>, tensor<*xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
