// The budgets of layers on a CPU: a task for each head looks at the mass, one task shares, one writes the component.
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" --sparse-fuse --sparse-set-strategy --sparse-convert-to-linalg -o %t.linalg
// RUN: FileCheck %s --check-prefix=LINALG < %t.linalg
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels -o %t.kernels
// RUN: FileCheck %s < %t.kernels
// RUN: FileCheck %s --check-prefix=PLAN < %t.kernels

// A step tests the budget, if there is one, and the recent tokens are a part of it.
// LINALG-LABEL: func.func @decode_b2
// LINALG-SAME: plan.name = "budget"
// LINALG: plan.kernel "compress"
// LINALG: %[[B:.*]] = tensor.extract %{{.*}} : tensor<?x2xi32>
// LINALG: %[[C:.*]] = arith.constant 44 : index
// LINALG: arith.cmpi sgt
// LINALG: arith.select
// LINALG: arith.muli {{.*}} : i64
// LINALG: arith.divsi {{.*}} : i64
// LINALG-LABEL: func.func @maintain_budgets
// LINALG: plan.kernel "spread"
// LINALG: scf.forall
// LINALG: plan.kernel "share_budget"
// LINALG: math.exp
// LINALG: plan.kernel "set_budget"
// LINALG: arith.fptosi

// CHECK-NOT: alloc{{.*}}memref<?
// CHECK-NOT: memref.alloc(
// CHECK-NOT: memref.copy

// PLAN: plan.entry @maintain_budgets
// PLAN: plan.launch @spread_{{[0-9]+}} grid 2
// PLAN-NEXT: plan.launch @share_budget_{{[0-9]+}} grid 1
// PLAN-NEXT: plan.launch @set_budget_{{[0-9]+}} grid 1
