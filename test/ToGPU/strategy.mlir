// The strategy of a kernel on a GPU: chosen, pinned, refused.
// RUN: sparse-opt %s --split-input-file --sparse-set-device-strategy --verify-diagnostics | FileCheck %s

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>} {
  // CHECK-LABEL: func.func @decode
  func.func @decode(%x: tensor<1x64xf32>, %w: tensor<128x64x1xbf16>, %odd: tensor<128x61x1xbf16>, %y: tensor<1x61xf32>)
      attributes {plan.kind = "decode", plan.rows = 1 : i64} {
    // CHECK: plan.kernel "linear"{{.*}}strategy = simt
    %0 = plan.kernel "linear" (%x, %w) : (tensor<1x64xf32>, tensor<128x64x1xbf16>) -> tensor<1x128xf32> {
    ^bb0(%a: tensor<1x64xf32>, %b: tensor<128x64x1xbf16>):
      %r = sparsity.linear %a, %b : (tensor<1x64xf32>, tensor<128x64x1xbf16>) -> tensor<1x128xf32>
      plan.yield %r : tensor<1x128xf32>
    }
    // A depth that no 16-byte load fits is left to the reference.
    // CHECK: plan.kernel "linear"{{.*}}strategy = reference
    %1 = plan.kernel "linear" (%y, %odd) : (tensor<1x61xf32>, tensor<128x61x1xbf16>) -> tensor<1x128xf32> {
    ^bb0(%a: tensor<1x61xf32>, %b: tensor<128x61x1xbf16>):
      %r = sparsity.linear %a, %b : (tensor<1x61xf32>, tensor<128x61x1xbf16>) -> tensor<1x128xf32>
      plan.yield %r : tensor<1x128xf32>
    }
    // What is pinned stays.
    // CHECK: plan.kernel "linear"{{.*}}strategy = reference
    %2 = plan.kernel "linear" (%x, %w) {lowering_config = #sparsity.lowering_config<strategy = reference, tiles = []>} : (tensor<1x64xf32>, tensor<128x64x1xbf16>) -> tensor<1x128xf32> {
    ^bb0(%a: tensor<1x64xf32>, %b: tensor<128x64x1xbf16>):
      %r = sparsity.linear %a, %b : (tensor<1x64xf32>, tensor<128x64x1xbf16>) -> tensor<1x128xf32>
      plan.yield %r : tensor<1x128xf32>
    }
    return
  }
}

// -----

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>} {
  func.func @pinned(%x: tensor<1x61xf32>, %w: tensor<128x61x1xbf16>) attributes {plan.kind = "decode", plan.rows = 1 : i64} {
    // expected-error @below {{can't be lowered by strategy simt: a depth of 61 is no multiple of 16 bytes of weights}}
    %0 = plan.kernel "linear" (%x, %w) {lowering_config = #sparsity.lowering_config<strategy = simt, tiles = []>} : (tensor<1x61xf32>, tensor<128x61x1xbf16>) -> tensor<1x128xf32> {
    ^bb0(%a: tensor<1x61xf32>, %b: tensor<128x61x1xbf16>):
      %r = sparsity.linear %a, %b : (tensor<1x61xf32>, tensor<128x61x1xbf16>) -> tensor<1x128xf32>
      plan.yield %r : tensor<1x128xf32>
    }
    return
  }
}

// -----

// expected-error @below {{has no sparsity.target; strategies of a GPU depend on it}}
module {
}
