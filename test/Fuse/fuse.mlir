// Kernels of one decode entry, and packed weights.
// RUN: sed 's/ POLICY//' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=16 buckets=2" --sparse-fuse --sparse-set-strategy | FileCheck %s
// RUN: sed 's/ POLICY//' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=16 buckets=2" --sparse-fuse="weights-dtype=bf16" | FileCheck %s --check-prefix=BF16
// RUN: sed 's/ POLICY//' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=16 buckets=2" --sparse-fuse --sparse-set-strategy=reference | FileCheck %s --check-prefix=REF

// A tied embedding and head have one packed copy.
// CHECK: onnx.derived @embed.packed from [@embed] steps [#onnx.transpose<[1, 0]>, #onnx.pack<panel = 64>] : tensor<5x64x64xf32>
// CHECK-NOT: @head.packed
// Queries, keys and values are one layer.
// CHECK: onnx.derived @wq.packed from [@wq, @wk, @wv] steps [#onnx.concat<axis = 1>, #onnx.pack<panel = 64>] : tensor<2x64x64xf32>

// CHECK-LABEL: func.func @prefill
// A prompt's linear layers stand alone, for a GEMM library.
// CHECK: plan.kernel "linear"{{.*}}strategy = library
// CHECK: plan.kernel "attend"{{.*}}strategy = vector, tiles = [8]
// CHECK: plan.kernel "linear"{{.*}}strategy = library
// CHECK: plan.kernel "elementwise"

// CHECK-LABEL: func.func @decode_b2
// CHECK: plan.kernel "embed"
// CHECK: plan.kernel "norm"
// CHECK: %[[QKV:.*]] = plan.kernel "linear"{{.*}} -> tensor<2x128xf32>
// CHECK: plan.kernel "rope"(%[[QKV]]
// CHECK: tensor.extract_slice %{{.*}}[0, 0] [2, 64] [1, 1]
// CHECK: plan.kernel "rope"(%[[QKV]]
// CHECK: tensor.extract_slice %{{.*}}[0, 64] [2, 32] [1, 1]
// CHECK: plan.kernel "append"
// CHECK: plan.kernel "attend_part"
// CHECK: sparsity.attend_part{{.*}}segment = 16
// CHECK: plan.kernel "combine"
// The residual joins the projection.
// CHECK: plan.kernel "linear"
// CHECK: sparsity.linear
// CHECK-NEXT: onnx.Add
// CHECK-NOT: plan.kernel "elementwise"
// CHECK: return

// BF16: steps [#onnx.transpose<[1, 0]>, #onnx.cast<bf16>, #onnx.pack<panel = 64>] : tensor<5x64x64xbf16>

// REF-NOT: strategy = vector
// REF-NOT: strategy = library
