// RUN: sparse-opt %s "--sparse-mark=attention=1:page_topk:page=8,budget=64 kv=1:h2o:heavy=3,recent=5 report" --verify-diagnostics

func.func @main(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %none: none, %p: tensor<?x2x?x16xf32>) -> tensor<?x?x64xf32> {
  // expected-remark @below {{layer 0: dense}}
  %0:4 = onnx.Attention %q, %k, %k, %none, %p, %p, %none {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64}
      : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
      -> (tensor<?x?x64xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
  // expected-remark @below {{layer 1: page_topk: {page: 8, budget: 64, over: 0, least: 0, group: max, per_query_head: false, sinks: 0}; h2o: {heavy: 3, recent: 5, over: 0, least: 0, heads: [], prefill: dense}}}
  %1:4 = onnx.Attention %0#0, %k, %k, %none, %p, %p, %none {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64}
      : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
      -> (tensor<?x?x64xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
  return %1#0 : tensor<?x?x64xf32>
}
