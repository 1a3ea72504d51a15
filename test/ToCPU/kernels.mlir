// A linear layer becomes a register tile: four accumulators over a panel of 64 columns, no memory in the loop but the
// weights and one broadcast.
// RUN: sed 's/ POLICY//' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=16 buckets=1" --sparse-fuse --sparse-set-strategy --sparse-convert-to-linalg -o %t
// RUN: sparse-opt %t --sparse-form-kernels --canonicalize --cse --sparse-vectorize-kernels | FileCheck %s
// RUN: sparse-opt %t --sparse-cpu-kernels --sparse-cpu-llvm | FileCheck %s --check-prefix=LLVM

// CHECK: plan.entry @prefill
// CHECK: plan.gemm %{{.*}}, %{{.*}}, %{{.*}} : memref<16x64xf32>, memref<2x64x64xf32>, memref<16x128xf32>
// CHECK: plan.entry @decode_b1
// CHECK: plan.launch @[[LINEAR:linear_[0-9]+]] grid 2

// CHECK: func.func @[[LINEAR]](%{{.*}}: memref<1x64xf32>, %{{.*}}: memref<2x64x64xf32>, %{{.*}}: memref<1x128xf32>, %{{.*}}: index)
// CHECK: scf.for {{.*}} iter_args(%[[ACC:.*]] = %{{.*}}) -> (vector<64xf32>)
// CHECK: %[[W:.*]] = vector.transfer_read {{.*}} vector<64xf32>
// CHECK: %[[X:.*]] = vector.broadcast %{{.*}} : f32 to vector<64xf32>
// CHECK: llvm.intr.fmuladd(%[[X]], %[[W]], %[[ACC]])
// CHECK: scf.yield %{{.*}} : vector<64xf32>

// The packed ABI: buffers and a task.
// LLVM: llvm.func @linear_0(%{{.*}}: !llvm.ptr, %{{.*}}: i64) attributes {plan.kernel}
// LLVM: llvm.call @linear_0.body
// LLVM: llvm.func internal @linear_0.body
// LLVM-NOT: func.func
// LLVM-NOT: builtin.unrealized_conversion_cast
// LLVM-NOT: @malloc
