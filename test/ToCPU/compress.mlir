// What follows a step sees every slot: a task a row and KV head, a vector a page, all of it in place. The reference does
// the same slot by slot.
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64: 1>, heavy = 40 : i64, least = 8 : i64, over = 200 : i64, prefill = "dense", recent = 40 : i64}>, #sparsity.cam<{attention = "gathered", followers = 6 : i64, mode = "bernoulli", seed = 3 : i64, heads = array<i64: 1>}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" --sparse-fuse -o %t
// RUN: sparse-opt %t --sparse-set-strategy --sparse-convert-to-linalg -o %t.linalg
// RUN: FileCheck %s --check-prefix=LINALG < %t.linalg
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels | FileCheck %s
// RUN: sparse-opt %t --sparse-set-strategy=reference=true --sparse-convert-to-linalg --sparse-cpu-kernels | FileCheck %s --check-prefix=SCALAR

// LINALG-LABEL: func.func @decode_b2
// LINALG: plan.kernel "compress"
// LINALG: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %{{.*}} iter_args
// LINALG: {plan.tasks}
// LINALG: plan.kernel "match"

// CHECK: plan.entry @prefill
// CHECK: plan.launch @[[PREFILL:compress_[0-9]+]] grid 2(
// CHECK: plan.entry @decode_b2
// CHECK: plan.launch @mass_of_scores_0 grid 32(
// CHECK: plan.launch @[[STEP:compress_[0-9]+]] grid 4(

// A prompt updates statistics and evicts nothing.
// CHECK: func.func @[[PREFILL]](
// CHECK: vector.transfer_write %{{.*}} : vector<16xf32>
// CHECK-NOT: arith.cmpf
// CHECK: return

// Rows of scores become rows of weights, which are added up as they are.
// CHECK: func.func @mass_of_scores_0(
// CHECK: vector.transfer_read %{{.*}} vector<2x16xf32>
// CHECK-NOT: vector.transpose
// CHECK-NOT: vector.reduction
// CHECK-NOT: memref.copy
// CHECK: vector.transfer_write %{{.*}} : vector<16xf32>, memref<16xf32,
// CHECK: return

// CHECK: func.func @[[STEP]](
// CHECK: scf.if
// CHECK: scf.for
// CHECK: %[[SUM:.*]] = arith.addf %{{.*}} : vector<16xf32>
// CHECK: vector.transfer_write %{{.*}} : vector<16xf32>
// The cap is that of the sequence's length, and so are the recent tokens.
// CHECK: arith.divsi
// CHECK: scf.if
// CHECK: scf.for
// CHECK: arith.select %{{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: arith.cmpf olt, %{{.*}} : vector<16xf32>
// CHECK: arith.cmpf oeq, %{{.*}} : vector<16xf32>
// CHECK: arith.select %{{.*}} : vector<16xi1>, vector<16xi32>
// Of the lanes, one by one.
// CHECK: scf.for
// CHECK: arith.cmpf olt, %{{.*}} : f32
// CHECK-NOT: memref.copy
// CHECK-NOT: linalg.copy
// CHECK: return

// SCALAR: plan.entry @decode_b2
// SCALAR: plan.launch @[[STEP:compress_[0-9]+]] grid 4(
// SCALAR: func.func @[[STEP]](
// SCALAR-NOT: vector<
// SCALAR: arith.cmpf olt, %{{.*}} : f32
// SCALAR-NOT: memref.copy
// SCALAR: return
