// RUN: sparse-opt %s --split-input-file --verify-diagnostics

// What the operands and results of the ops by which layers share a budget must be.

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{needs a field 'mass' of 'f32' per slot for 'd2o'; the layout has none}}
  %0 = sparsity.spread %s, %i {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<2xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 8, caps = [-1, -1], prefill_cap = none, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{needs positions of slots; legal: a layout with slotted = true}}
  %0 = sparsity.spread %s, %i {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<2xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{'variances' must be 'tensor<2xf32>', not 'tensor<3xf32>'}}
  %0 = sparsity.spread %s, %i {policy = #d2o} : (!layer, tensor<1xi32>) -> tensor<3xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{'sequences' must be 'tensor<1xi32>', not 'tensor<1xf32>'}}
  %0 = sparsity.spread %s, %f {policy = #d2o} : (!layer, tensor<1xf32>) -> tensor<2xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{gives 1 shares to 2 layers; legal: one share for each, and at least one}}
  %0 = sparsity.share_budget %v, %v {policy = #d2o} : (tensor<2xf32>, tensor<2xf32>) -> tensor<1xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{gives 0 shares to 0 layers; legal: one share for each, and at least one}}
  sparsity.share_budget {policy = #d2o} : () -> ()
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{'share' must be 'tensor<1xf32>', not 'tensor<2xf32>'}}
  %0 = sparsity.share_budget %v {policy = #d2o} : (tensor<2xf32>) -> tensor<2xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{'variances' must be 'tensor<1xf32>', not 'tensor<1xi32>'}}
  %0 = sparsity.share_budget %i {policy = #d2o} : (tensor<1xi32>) -> tensor<1xf32>
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{sets caps that the layout does not let prompts set; legal: caps_of_prompt = true}}
  %0 = sparsity.set_budget %s, %i, %f {policy = #d2o} : (!layer, tensor<1xi32>, tensor<1xf32>) -> !layer
  return
}

// -----

#d2o = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "variance", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 16, caps = [44, 44], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = [], caps_of_prompt = true>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %f: tensor<1xf32>, %v: tensor<2xf32>) {
  // expected-error @below {{'share' must be 'tensor<1xf32>', not 'tensor<2xf32>'}}
  %0 = sparsity.set_budget %s, %i, %v {policy = #d2o} : (!layer, tensor<1xi32>, tensor<2xf32>) -> !layer
  return
}

// -----

// expected-error @below {{'budgets' of 'd2o' is "pyramid"; legal: uniform or variance}}
func.func private @f() attributes {test.a = #sparsity.d2o<{alpha = 0.5, beta = 0.5, budgets = "pyramid", heads = array<i64>, heavy = 8 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 8 : i64, sinks = 4 : i64}>}
