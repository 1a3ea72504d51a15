// Codes and scales change in place: nothing of a pool's size is allocated or copied, by a merge neither.
// RUN: sed 's/ POLICY/, sparsity.selection = #sparsity.page_topk<{budget = 64 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = false, sinks = 0 : i64}>, sparsity.kv = [#sparsity.quantize<{format = "int8"}>, #sparsity.d2o<{budgets = "uniform", heavy = 40 : i64, least = 0 : i64, over = 0 : i64, recent = 40 : i64, sinks = 4 : i64, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" --sparse-fuse --sparse-set-strategy --sparse-convert-to-linalg -o %t.linalg
// RUN: FileCheck %s --check-prefix=LINALG < %t.linalg
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels | FileCheck %s

// LINALG: func.func @prefill
// LINALG-SAME: tensor<?x16x16xi8> {plan.layer = 0 : i64, plan.layout = #{{.*}}, plan.name = "key"}
// LINALG-SAME: tensor<?x2x{{[0-9]+}}xf16> {plan.layer = 0 : i64, plan.layout = #{{.*}}, plan.name = "key_scale"}
// LINALG-LABEL: func.func @decode_b2

// The greatest magnitude of a row, its scale as the bits of an f16, then the codes.
// LINALG: plan.kernel "append"
// LINALG: %[[MOST:.*]] = scf.for {{.*}} -> (f32)
// LINALG: math.absf
// LINALG: arith.divf %[[MOST]], %{{.*}} : f32
// LINALG: scf.for {{.*}} -> (tensor<?x16x16xi8>)
// LINALG: arith.fptosi %{{.*}} : f32 to i8
// LINALG: arith.bitcast %{{.*}} : i16 to f16
// LINALG: tensor.insert %{{.*}} into %{{.*}} : tensor<?x2x{{[0-9]+}}xf16>

// Scores times the scales of the keys; weights times those of the values.
// LINALG: plan.kernel "attend_part"
// LINALG: arith.sitofp %{{.*}} : i8 to f32
// LINALG: arith.bitcast %{{.*}} : f16 to i16
// LINALG: arith.bitcast %{{.*}} : f16 to i16
// LINALG: arith.sitofp %{{.*}} : i8 to f32

// CHECK-NOT: alloc{{.*}}memref<?
// CHECK-NOT: memref.alloc(
// CHECK-NOT: memref.copy
// CHECK-NOT: memref.dealloc
