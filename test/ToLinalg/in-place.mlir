// Down to loops nothing of a pool's size is allocated or copied: cache state changes in place.
// RUN: sed 's/ POLICY/, sparsity.selection = #sparsity.page_topk<{budget = 64 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = false, sinks = 0 : i64}>, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 40 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 40 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1,2" --sparse-fuse --sparse-set-strategy --sparse-convert-to-linalg -o %t.linalg
// RUN: FileCheck %s --check-prefix=LINALG < %t.linalg
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels | FileCheck %s
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels | FileCheck %s --check-prefix=PLAN

// A layer is one tensor per component; kernels hold upstream ops only.
// LINALG-NOT: sparsity.score
// LINALG-NOT: kvcache.append
// LINALG: func.func @prefill
// LINALG-SAME: tensor<?x16x16xf32> {plan.layer = 0 : i64, plan.layout = #{{.*}}, plan.name = "key"}
// LINALG-SAME: plan.name = "position"
// LINALG-SAME: plan.name = "mass"
// LINALG: plan.kernel "append"{{.*}}ties = array<i64:

// Pools and slabs have a dynamic first dimension; nothing with one may be allocated or copied.
// CHECK-NOT: alloc{{.*}}memref<?
// CHECK-NOT: memref.alloc(
// CHECK-NOT: memref.copy
// CHECK-NOT: memref.dealloc

// PLAN: plan.entry @decode_b1 kind "decode" rows 1 arena
// PLAN: plan.state layer 0 "key" : memref<?x16x16xf32, strided<[512, 16, 1]>>
// PLAN: plan.launch @append_{{[0-9]+}} grid 1
// PLAN: plan.launch @score_{{[0-9]+}} grid 2
// PLAN: plan.launch @select_{{[0-9]+}} grid 2
// PLAN: plan.launch @attend_part_
// PLAN: plan.launch @combine_
// PLAN: plan.launch @mass_
// PLAN: plan.launch @compress_{{[0-9]+}} grid 2
// PLAN: plan.entry @maintain_compact
// PLAN: plan.launch @choose_
// PLAN: plan.launch @gather_
// PLAN: plan.launch @place_
