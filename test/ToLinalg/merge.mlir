// Merging changes the cache in place and allocates nothing of its size; every draw is arithmetic in the kernel.
// RUN: sed 's/ POLICY/, sparsity.selection = #sparsity.page_topk<{budget = 64 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = false, sinks = 0 : i64}>, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 40 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 40 : i64}>, #sparsity.cam<{attention = "gathered", followers = 6 : i64, mode = "bernoulli", seed = 3 : i64, heads = array<i64>}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" --sparse-fuse --sparse-set-strategy --sparse-convert-to-linalg -o %t.linalg
// RUN: FileCheck %s --check-prefix=LINALG < %t.linalg
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels -o %t.kernels
// RUN: FileCheck %s < %t.kernels
// RUN: FileCheck %s --check-prefix=PLAN < %t.kernels

// LINALG-LABEL: func.func @decode_b2
// LINALG: plan.kernel "compress"
// LINALG: arith.addf
// LINALG-NOT: arith.addf
// LINALG: plan.kernel "match"
// LINALG-COUNT-20: arith.mului_extended
// LINALG-NOT: arith.mului_extended
// LINALG: plan.kernel "merge"
// LINALG-LABEL: func.func @maintain_compact

// CHECK-NOT: alloc{{.*}}memref<?
// CHECK-NOT: memref.alloc(
// CHECK-NOT: memref.copy
// CHECK-NOT: memref.dealloc

// PLAN: plan.entry @decode_b2
// PLAN: plan.launch @compress_{{[0-9]+}} grid 4
// PLAN-NEXT: plan.launch @match_{{[0-9]+}} grid 4
// PLAN-NEXT: plan.launch @merge_{{[0-9]+}} grid 1
// PLAN: plan.entry @maintain_compact
// PLAN: plan.launch @choose_
// PLAN-NEXT: plan.launch @gather_
// PLAN-NEXT: plan.launch @match_chosen_{{[0-9]+}} grid 34
// PLAN-NEXT: plan.launch @settle_{{[0-9]+}} grid 1
// PLAN-NEXT: plan.launch @merge_chosen_{{[0-9]+}} grid 10
// PLAN-NEXT: plan.launch @place_
