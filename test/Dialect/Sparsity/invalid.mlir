// RUN: sparse-opt %s --split-input-file --verify-diagnostics

// expected-error @below {{'sparsity.site' must be a #sparsity.site}}
func.func private @f() attributes {sparsity.site = 3 : i64}

// -----

// expected-error @below {{'sparsity.selection' must be an attention policy}}
func.func private @f() attributes {sparsity.selection = #sparsity.streaming<{sinks = 4, window = 60, heads = array<i64>}>}

// -----

// expected-error @below {{'sparsity.kv' must be an array of KV policies}}
func.func private @f() attributes {sparsity.kv = #sparsity.streaming<{sinks = 4, window = 60, heads = array<i64>}>}

// -----

// expected-error @below {{'sparsity.kv' must be an array of KV policies}}
func.func private @f() attributes {sparsity.kv = [#sparsity.page_topk<{page = 16, budget = 64, over = 0, least = 0, group = "max", per_query_head = false, sinks = 0}>]}

// -----

// expected-error @below {{'sparsity.policy' must be the text of a policy}}
module attributes {sparsity.policy = 1 : i64} {}

// -----

// expected-error @below {{'page_topk' has no parameter 'bugdet'; legal: 'page', 'budget', 'over', 'least', 'group', 'per_query_head', 'sinks'}}
func.func private @f() attributes {test.a = #sparsity.page_topk<{page = 16, bugdet = 64}>}

// -----

// expected-error @below {{'budget' of 'page_topk' is 0 : i64; legal: an integer from 1 to 1073741823}}
func.func private @f() attributes {test.a = #sparsity.page_topk<{page = 16, budget = 0, over = 0, least = 0, group = "max", per_query_head = false, sinks = 0}>}

// -----

// expected-error @below {{'budget' of 'page_topk' is 64 : i32; legal: an integer from 1 to 1073741823}}
func.func private @f() attributes {test.a = #sparsity.page_topk<{page = 16, budget = 64 : i32, over = 0, least = 0, group = "max", per_query_head = false, sinks = 0}>}

// -----

// expected-error @below {{'group' of 'page_topk' is "mean"; legal: max or sum}}
func.func private @f() attributes {test.a = #sparsity.page_topk<{page = 16, budget = 64, over = 0, least = 0, group = "mean", per_query_head = false, sinks = 0}>}

// -----

// expected-error @below {{'per_query_head' of 'page_topk' is 1 : i64; legal: true or false}}
func.func private @f() attributes {test.a = #sparsity.page_topk<{page = 16, budget = 64, over = 0, least = 0, group = "max", per_query_head = 1, sinks = 0}>}

// -----

// expected-error @below {{'page_topk' lacks its parameter}}
func.func private @f() attributes {test.a = #sparsity.page_topk<{page = 16, budget = 64}>}

// -----

// expected-error @below {{'heads' of 'h2o' is array<i64: -1>; legal: KV heads as a range or list: 0-3, [0, 2]}}
func.func private @f() attributes {test.a = #sparsity.h2o<{heavy = 3, least = 0 : i64, over = 0 : i64, recent = 5, heads = array<i64: -1>, prefill = "dense"}>}

// -----

// expected-error @below {{'prefill' of 'h2o' is "chunk"; legal: dense or chunked}}
func.func private @f() attributes {test.a = #sparsity.h2o<{heavy = 3, least = 0 : i64, over = 0 : i64, recent = 5, heads = array<i64>, prefill = "chunk"}>}

// -----

// expected-error @below {{'recent' of 'h2o' is 0 : i64; legal: an integer from 1 to 1073741823}}
func.func private @f() attributes {test.a = #sparsity.h2o<{heavy = 3, least = 0 : i64, over = 0 : i64, recent = 0, heads = array<i64>, prefill = "dense"}>}

// -----

// expected-error @below {{'followers' of 'cam' is 0 : i64; legal: an integer from 1 to 256}}
func.func private @f() attributes {test.a = #sparsity.cam<{attention = "gathered", followers = 0, mode = "expectation", seed = 0, heads = array<i64>}>}

// -----

// expected-error @below {{'mode' of 'cam' is "always"; legal: bernoulli or expectation}}
func.func private @f() attributes {test.a = #sparsity.cam<{attention = "gathered", followers = 4, mode = "always", seed = 0, heads = array<i64>}>}

// -----

// expected-error @below {{'sparsity.kv' must be an array of KV policies}}
func.func private @f() attributes {sparsity.kv = [#sparsity.page_topk<{page = 16, budget = 64, over = 0, least = 0, group = "max", per_query_head = false, sinks = 0}>]}

// -----

// expected-error @below {{'alpha' of 'd2o' is 1.500000e+00 : f64; legal: a number from 0 to 1}}
func.func private @f() attributes {test.a = #sparsity.d2o<{budgets = "uniform", heavy = 8, least = 0 : i64, over = 0 : i64, recent = 8, sinks = 4, mode = "code", merge_keys = true, alpha = 1.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>}

// -----

// expected-error @below {{'beta' of 'd2o' is 1 : i64; legal: a number from 0 to 1}}
func.func private @f() attributes {test.a = #sparsity.d2o<{budgets = "uniform", heavy = 8, least = 0 : i64, over = 0 : i64, recent = 8, sinks = 4, mode = "code", merge_keys = true, alpha = 0.5, beta = 1, heads = array<i64>, prefill = "dense"}>}

// -----

// expected-error @below {{'window' of 'streaming' is 0 : i64; legal: an integer from 1 to 1073741823}}
func.func private @f() attributes {test.a = #sparsity.streaming<{sinks = 4, window = 0, heads = array<i64>}>}

// -----

// expected-error @below {{expected ::sparse::sparsity::Part to be one of: attention, q, k, v, o, gate, up, act, down, norm, router, expert, embed, head}}
// expected-error @below {{failed to parse Sparsity_SiteAttr parameter 'part' which is to be a `::sparse::sparsity::Part`}}
func.func private @f() attributes {sparsity.site = #sparsity.site<layer = 0, part = mlp>}

// -----

// expected-error @below {{expected ::sparse::sparsity::Strategy to be one of: reference, vector}}
// expected-error @below {{failed to parse Sparsity_LoweringConfigAttr parameter 'strategy' which is to be a `::sparse::sparsity::Strategy`}}
func.func private @f() attributes {test.a = #sparsity.lowering_config<strategy = fast, tiles = [1]>}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32,
    slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>>
func.func @f(%x: tensor<2x64xf32>, %s: !layer, %p: tensor<2xi32>, %i: tensor<2x2x16xi32>) {
  // expected-error @below {{takes indices and count together or neither}}
  %y, %lse = sparsity.attend %x, %s, %p, %p, %i {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 0>, scale = 0.25 : f32} : (tensor<2x64xf32>, !layer, tensor<2xi32>, tensor<2xi32>, tensor<2x2x16xi32>) -> (tensor<2x64xf32>, tensor<2x4xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32,
    slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>>
func.func @f(%x: tensor<2x64xf32>, %s: !layer, %p: tensor<2xi32>, %i: tensor<2x2x16xi32>, %c: tensor<2x2xi32>) {
  // expected-error @below {{takes no selection in prefill: pages are selected for single decode queries}}
  %y, %lse = sparsity.attend %x, %s, %p, %p, %i, %c {operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1>, prefill, scale = 0.25 : f32} : (tensor<2x64xf32>, !layer, tensor<2xi32>, tensor<2xi32>, tensor<2x2x16xi32>, tensor<2x2xi32>) -> (tensor<2x64xf32>, tensor<2x4xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32,
    slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>>
func.func @f(%x: tensor<2x64xf32>, %s: !layer, %p: tensor<2xi32>) {
  // expected-error @below {{attribute 'policy' failed to satisfy constraint: SelectionPolicyInterface instance}}
  %u = sparsity.score %x, %s, %p {policy = #sparsity.streaming<{sinks = 4, window = 60, heads = array<i64>}>} : (tensor<2x64xf32>, !layer, tensor<2xi32>) -> tensor<2x2x64xf32>
  return
}

// -----

func.func @f(%x: tensor<2x64xf32>, %p: tensor<2xi32>) {
  // expected-error @below {{operand #1 must be the cache of one layer, for all sequences, but got 'tensor<2x64xf32>'}}
  %y, %lse = sparsity.attend %x, %x, %p, %p {operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 0>, scale = 0.25 : f32} : (tensor<2x64xf32>, tensor<2x64xf32>, tensor<2xi32>, tensor<2xi32>) -> (tensor<2x64xf32>, tensor<2x4xf32>)
  return
}

// -----

func.func @f(%l: tensor<2x320xbf16>, %i: tensor<2xi32>, %t: tensor<2xf32>, %s: tensor<2xi64>, %e: tensor<2x8xi32>) {
  // expected-error @below {{takes logits of f32 [rows, vocabulary], not 'tensor<2x320xbf16>'}}
  %r:5 = sparsity.sample %l, %i, %i, %i, %t, %i, %t, %s, %s, %e : (tensor<2x320xbf16>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  return
}

// -----

func.func @f(%l: tensor<2x320xf32>, %i: tensor<2xi32>, %t: tensor<2xf32>, %s: tensor<2xi64>, %e: tensor<8xi32>) {
  // expected-error @below {{'stops' must be [rows, tokens], not 'tensor<8xi32>'}}
  %r:5 = sparsity.sample %l, %i, %i, %i, %t, %i, %t, %s, %s, %e : (tensor<2x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  return
}

// -----

func.func @f(%l: tensor<4x320xf32>, %i: tensor<2xi32>, %t: tensor<2xf32>, %s: tensor<2xi64>, %e: tensor<2x8xi32>) {
  // expected-error @below {{'ids' must be 'tensor<4xi32>', not 'tensor<2xi32>'}}
  %r:5 = sparsity.sample %l, %i, %i, %i, %t, %i, %t, %s, %s, %e : (tensor<4x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  return
}

// -----

func.func @f(%l: tensor<2x320xf32>, %i: tensor<2xi32>, %t: tensor<2xf32>, %s: tensor<2xi64>, %e: tensor<2x8xi64>) {
  // expected-error @below {{'stops' must be 'tensor<2x8xi32>', not 'tensor<2x8xi64>'}}
  %r:5 = sparsity.sample %l, %i, %i, %i, %t, %i, %t, %s, %s, %e : (tensor<2x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi64>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  return
}

// -----

func.func @f(%l: tensor<2x320xf32>, %i: tensor<2xi32>, %t: tensor<2xf32>, %s: tensor<2xi64>, %e: tensor<2x8xi32>) {
  // expected-error @below {{'new_counters' must be 'tensor<2xi64>', not 'tensor<2xi32>'}}
  %r:5 = sparsity.sample %l, %i, %i, %i, %t, %i, %t, %s, %s, %e : (tensor<2x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>)
  return
}
