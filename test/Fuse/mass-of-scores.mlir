// What slots receive follows from the scores that dense decode attention has left; a selection, or a prompt, reads keys again.
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 40 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 40 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" --sparse-fuse | FileCheck %s
// RUN: sed 's/ POLICY/, sparsity.selection = #sparsity.page_topk<{budget = 64 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = false, sinks = 0 : i64}>, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 40 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 40 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=2" --sparse-fuse | FileCheck %s --check-prefix=SELECTED

// CHECK-LABEL: func.func @prefill
// CHECK: sparsity.mass %
// CHECK-LABEL: func.func @decode_b2
// CHECK: %[[P:.*]]:4 = plan.kernel "attend_part"
// CHECK: sparsity.attend_part {{.*}}segment = [[SEGMENT:[0-9]+]] : i64{{.*}} -> (tensor<2x2x{{[0-9]+}}x{{[0-9]+}}xf32>, tensor<2x2x[[S:[0-9]+]]x[[G:[0-9]+]]xf32>, {{.*}}, tensor<2x2x[[S]]x[[G]]x{{[0-9]+}}xf32>)
// CHECK: %[[C:.*]]:2 = plan.kernel "combine"
// CHECK: plan.kernel "mass_of_scores"(%[[P]]#3, %[[C]]#1
// CHECK: sparsity.mass_of_scores {{.*}} {segment = [[SEGMENT]] : i64}
// CHECK-NOT: sparsity.mass %

// SELECTED-LABEL: func.func @decode_b2
// SELECTED: sparsity.attend_part {{.*}} -> (tensor<{{[^,]*}}>, tensor<{{[^,]*}}>, tensor<{{[^,]*}}>)
// SELECTED: sparsity.mass %
