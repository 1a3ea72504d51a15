// RUN: sparse-opt %s --sparse-mark=policy-file=%S/Inputs/quest-and-h2o.yaml | FileCheck %s --check-prefix=FILE
// RUN: sparse-opt %s "--sparse-mark=attention=1-:page_topk:page=8,budget=64 kv=0:streaming:heads=1-,window=60,2:h2o:heavy=8" \
// RUN:   | FileCheck %s --check-prefix=INLINE
// RUN: sparse-opt %s --sparse-mark | FileCheck %s --check-prefix=DENSE
// RUN: sparse-opt %s "--sparse-mark=policy-file=%S/Inputs/quest-and-h2o.yaml attention=all:dense kv=1-:dense" \
// RUN:   | FileCheck %s --check-prefix=OFF

// FILE-DAG: #page_topk = #sparsity.page_topk<{budget = 64 : i64, group = "sum", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = false, sinks = 0 : i64}>
// FILE-DAG: #page_topk1 = #sparsity.page_topk<{budget = 2048 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = true, sinks = 3 : i64}>
// FILE-DAG: #h2o = #sparsity.h2o<{heads = array<i64>, heavy = 32 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 16 : i64}>
// FILE-DAG: #h2o1 = #sparsity.h2o<{heads = array<i64: 1>, heavy = 32 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 16 : i64}>
// FILE-DAG: #h2o2 = #sparsity.h2o<{heads = array<i64: 0>, heavy = 1 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 512 : i64}>
// FILE: module attributes {sparsity.policy = "version: 1\0Arules:\0A  - layers: 0\0A    kv: {h2o: {heavy: 32, recent: 16, over: 0, least: 0, heads: [], prefill: dense}}\0A  - layers: 1\0A
// FILE-SAME: attention: {page_topk: {page: 16, budget: 64, over: 0, least: 0, group: sum, per_query_head: false, sinks: 0}}\0A
// FILE-LABEL: func.func @main
// FILE: onnx.Attention
// FILE-NOT: sparsity.selection
// FILE-SAME: sparsity.kv = [#h2o]
// FILE: onnx.Attention
// FILE-SAME: sparsity.kv = [#h2o1], sparsity.selection = #page_topk
// FILE: onnx.Attention
// FILE-SAME: sparsity.kv = [#h2o2], sparsity.selection = #page_topk1

// INLINE: module attributes {sparsity.policy = "version: 1\0A
// INLINE-DAG: sparsity.kv = [#streaming]
// DENSE: module attributes {sparsity.policy = ""}
// DENSE-NOT: sparsity.
// OFF: - layers: 0\0A    kv: {h2o
// OFF-NOT: page_topk

func.func @main(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %none: none, %p: tensor<?x2x?x16xf32>) -> tensor<?x?x64xf32> {
  %0:4 = onnx.Attention %q, %k, %k, %none, %p, %p, %none {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64}
      : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
      -> (tensor<?x?x64xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
  %1:4 = onnx.Attention %0#0, %k, %k, %none, %p, %p, %none {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64}
      : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
      -> (tensor<?x?x64xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
  %2:4 = onnx.Attention %1#0, %k, %k, %none, %p, %p, %none {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64}
      : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
      -> (tensor<?x?x64xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
  return %2#0 : tensor<?x?x64xf32>
}
