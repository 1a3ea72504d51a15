// RUN: sparse-opt %s --onnx-fold-constants | FileCheck %s

// What the evaluator computes, seen through folding.

// CHECK-LABEL: func.func @elementwise
func.func @elementwise() -> (tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi1>, tensor<*xi64>) {
  %a = onnx.Constant {value = dense<[7, -7, 9223372036854775807]> : tensor<3xi64>} : () -> tensor<3xi64>
  %b = onnx.Constant {value = dense<[2, 2, -1]> : tensor<3xi64>} : () -> tensor<3xi64>
  %z = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %min = onnx.Constant {value = dense<-9223372036854775808> : tensor<1xi64>} : () -> tensor<1xi64>
  %m = onnx.Constant {value = dense<-1> : tensor<i64>} : () -> tensor<i64>
  // CHECK-DAG: %[[DIV:.*]] = onnx.Constant {value = dense<[3, -3, -9223372036854775807]> : tensor<3xi64>}
  %div = onnx.Div %a, %b : (tensor<3xi64>, tensor<3xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[MOD:.*]] = onnx.Constant {value = dense<[1, 1, 0]> : tensor<3xi64>}
  %mod = onnx.Mod %a, %b : (tensor<3xi64>, tensor<3xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[FMOD:.*]] = onnx.Constant {value = dense<[1, -1, 0]> : tensor<3xi64>}
  %fmod = onnx.Mod %a, %b {fmod = 1 : i64} : (tensor<3xi64>, tensor<3xi64>) -> tensor<*xi64>
  // Nothing traps.
  // CHECK-DAG: %[[TRAP:.*]] = onnx.Constant {value = dense<-9223372036854775808> : tensor<1xi64>}
  %q = onnx.Div %min, %m : (tensor<1xi64>, tensor<i64>) -> tensor<*xi64>
  // CHECK-DAG: %[[CMP:.*]] = onnx.Constant {value = dense<[true, false, true]> : tensor<3xi1>}
  %c = onnx.Greater %a, %z : (tensor<3xi64>, tensor<i64>) -> tensor<*xi1>
  // CHECK-DAG: %[[WHERE:.*]] = onnx.Constant {value = dense<[7, 0, 9223372036854775807]> : tensor<3xi64>}
  %w = onnx.Where %c, %a, %z : (tensor<*xi1>, tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  // CHECK: return %[[DIV]], %[[MOD]], %[[FMOD]], %[[TRAP]], %[[CMP]], %[[WHERE]]
  return %div, %mod, %fmod, %q, %c, %w : tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi1>, tensor<*xi64>
}

// CHECK-LABEL: func.func @slices
func.func @slices() -> (tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>) {
  %none = onnx.NoValue
  %x = onnx.Constant {value = dense<[[0, 1, 2, 3], [4, 5, 6, 7]]> : tensor<2x4xi64>} : () -> tensor<2x4xi64>
  %zero = onnx.Constant {value = dense<0> : tensor<1xi64>} : () -> tensor<1xi64>
  %one = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  %last = onnx.Constant {value = dense<-1> : tensor<1xi64>} : () -> tensor<1xi64>
  %two = onnx.Constant {value = dense<2> : tensor<1xi64>} : () -> tensor<1xi64>
  %max = onnx.Constant {value = dense<9223372036854775807> : tensor<1xi64>} : () -> tensor<1xi64>
  %min = onnx.Constant {value = dense<-9223372036854775808> : tensor<1xi64>} : () -> tensor<1xi64>
  // CHECK-DAG: %[[A:.*]] = onnx.Constant {value = dense<{{\[}}[1, 2], [5, 6]]> : tensor<2x2xi64>}
  %a = onnx.Slice %x, %one, %last, %one, %none : (tensor<2x4xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, none) -> tensor<*xi64>
  // CHECK-DAG: %[[B:.*]] = onnx.Constant {value = dense<{{\[}}[0, 2], [4, 6]]> : tensor<2x2xi64>}
  %b = onnx.Slice %x, %zero, %max, %last, %two : (tensor<2x4xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[C:.*]] = onnx.Constant {value = dense<{{\[}}[3, 2, 1, 0], [7, 6, 5, 4]]> : tensor<2x4xi64>}
  %c = onnx.Slice %x, %max, %min, %one, %last : (tensor<2x4xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[D:.*]] = onnx.Constant {value = dense<{{\[}}[0], [4]]> : tensor<2x1xi64>}
  %d = onnx.Slice %x, %min, %max, %one, %max : (tensor<2x4xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  // CHECK: return %[[A]], %[[B]], %[[C]], %[[D]]
  return %a, %b, %c, %d : tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>
}

// CHECK-LABEL: func.func @gathers
func.func @gathers() -> (tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>) {
  %x = onnx.Constant {value = dense<[[0, 1, 2], [3, 4, 5]]> : tensor<2x3xi64>} : () -> tensor<2x3xi64>
  %i = onnx.Constant {value = dense<[[-1], [0]]> : tensor<2x1xi64>} : () -> tensor<2x1xi64>
  %n = onnx.Constant {value = dense<[[1, 2], [0, -3]]> : tensor<2x2xi64>} : () -> tensor<2x2xi64>
  %u = onnx.Constant {value = dense<[8, 9]> : tensor<2xi64>} : () -> tensor<2xi64>
  // CHECK-DAG: %[[A:.*]] = onnx.Constant {value = dense<{{\[\[}}[2], [0]], {{\[}}[5], [3]]]> : tensor<2x2x1xi64>}
  %a = onnx.Gather %x, %i {axis = 1 : i64} : (tensor<2x3xi64>, tensor<2x1xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[B:.*]] = onnx.Constant {value = dense<{{\[}}[2], [3]]> : tensor<2x1xi64>}
  %b = onnx.GatherElements %x, %i {axis = -1 : i64} : (tensor<2x3xi64>, tensor<2x1xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[C:.*]] = onnx.Constant {value = dense<[5, 0]> : tensor<2xi64>}
  %c = onnx.GatherND %x, %n : (tensor<2x3xi64>, tensor<2x2xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[D:.*]] = onnx.Constant {value = dense<{{\[}}[9, 1, 2], [3, 4, 8]]> : tensor<2x3xi64>}
  %d = onnx.ScatterND %x, %n, %u : (tensor<2x3xi64>, tensor<2x2xi64>, tensor<2xi64>) -> tensor<*xi64>
  // CHECK: return %[[A]], %[[B]], %[[C]], %[[D]]
  return %a, %b, %c, %d : tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>
}

// CHECK-LABEL: func.func @layouts
func.func @layouts() -> (tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>) {
  %none = onnx.NoValue
  %x = onnx.Constant {value = dense<[[0, 1, 2], [3, 4, 5]]> : tensor<2x3xi64>} : () -> tensor<2x3xi64>
  %r = onnx.Constant {value = dense<[1, 2]> : tensor<2xi64>} : () -> tensor<2xi64>
  %k = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %axis = onnx.Constant {value = dense<1> : tensor<1xi64>} : () -> tensor<1xi64>
  // CHECK-DAG: %[[A:.*]] = onnx.Constant {value = dense<{{\[}}[0, 3], [1, 4], [2, 5]]> : tensor<3x2xi64>}
  %a = onnx.Transpose %x : (tensor<2x3xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[B:.*]] = onnx.Constant {value = dense<{{\[}}[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]]> : tensor<2x6xi64>}
  %b = onnx.Tile %x, %r : (tensor<2x3xi64>, tensor<2xi64>) -> tensor<*xi64>
  // CHECK-DAG: %[[C:.*]] = onnx.Constant {value = dense<{{\[}}[1, 2], [4, 5]]> : tensor<2x2xi64>}
  %s0, %s1 = onnx.Split %x, %r {axis = 1 : i64} : (tensor<2x3xi64>, tensor<2xi64>) -> (tensor<*xi64>, tensor<*xi64>)
  // CHECK-DAG: %[[D:.*]] = onnx.Constant {value = dense<{{\[}}[0, 1, 2], [0, 4, 5]]> : tensor<2x3xi64>}
  %d = onnx.Trilu %x, %none : (tensor<2x3xi64>, none) -> tensor<*xi64>
  // CHECK-DAG: %[[E:.*]] = onnx.Constant {value = dense<{{\[}}[0, 0, 1], [0, 3, 7]]> : tensor<2x3xi64>}
  %e = onnx.CumSum %x, %k {exclusive = 1 : i64} : (tensor<2x3xi64>, tensor<i64>) -> tensor<*xi64>
  // CHECK-DAG: %[[F:.*]] = onnx.Constant {value = dense<{{\[}}[3], [12]]> : tensor<2x1xi64>}
  %f = onnx.ReduceSum %x, %axis : (tensor<2x3xi64>, tensor<1xi64>) -> tensor<*xi64>
  // CHECK: return %[[A]], %[[B]], %[[C]], %[[D]], %[[E]], %[[F]]
  return %a, %b, %s1, %d, %e, %f : tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>
}

// Shapes that can't be, and shapes too large to compute: left alone.
// CHECK-LABEL: func.func @impossible
func.func @impossible() -> (tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>) {
  // CHECK: onnx.Reshape
  // CHECK: onnx.ConstantOfShape
  // CHECK: onnx.Range
  // CHECK: onnx.Gather
  %x = onnx.Constant {value = dense<[1, 2, 3]> : tensor<3xi64>} : () -> tensor<3xi64>
  %s = onnx.Constant {value = dense<[2, -1]> : tensor<2xi64>} : () -> tensor<2xi64>
  %huge = onnx.Constant {value = dense<[1099511627776, 1099511627776, 1099511627776]> : tensor<3xi64>} : () -> tensor<3xi64>
  %zero = onnx.Constant {value = dense<0> : tensor<i64>} : () -> tensor<i64>
  %one = onnx.Constant {value = dense<1> : tensor<i64>} : () -> tensor<i64>
  %max = onnx.Constant {value = dense<9223372036854775807> : tensor<i64>} : () -> tensor<i64>
  %a = onnx.Reshape %x, %s : (tensor<3xi64>, tensor<2xi64>) -> tensor<*xi64>
  %b = onnx.ConstantOfShape %huge {value = dense<1> : tensor<1xi64>} : (tensor<3xi64>) -> tensor<*xi64>
  %c = onnx.Range %zero, %max, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<*xi64>
  %d = onnx.Gather %x, %max : (tensor<3xi64>, tensor<i64>) -> tensor<*xi64>
  return %a, %b, %c, %d : tensor<*xi64>, tensor<*xi64>, tensor<*xi64>, tensor<*xi64>
}
