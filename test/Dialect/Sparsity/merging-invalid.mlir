// RUN: sparse-opt %s --split-input-file --verify-diagnostics

// What the operands and results of merging ops must be follows from the layout and the policy: here 2 KV heads of 12 slots,
// keys of 8 channels, values of 16, in bf16, the first head cut to 6 slots; 3 targets of a slot.

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %e: tensor<2x2xi32>, %q: tensor<2xi32>) {
  // expected-error @below {{needs a field 'mass' of 'f32' per slot for 'cam'; the layout has none}}
  %0:2 = sparsity.match %s, %e, %q {layer = 0 : i64, policy = #cam} : (!layer, tensor<2x2xi32>, tensor<2xi32>) -> (tensor<2x2x3xi32>, tensor<2x2xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %e: tensor<2x3xi32>, %q: tensor<2xi32>) {
  // expected-error @below {{'evicted' must be 'tensor<2x2xi32>', not 'tensor<2x3xi32>'}}
  %0:2 = sparsity.match %s, %e, %q {layer = 0 : i64, policy = #cam} : (!layer, tensor<2x3xi32>, tensor<2xi32>) -> (tensor<2x2x3xi32>, tensor<2x2xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %e: tensor<i32>, %q: tensor<2xi32>) {
  // expected-error @below {{'evicted' must be 'tensor<?x2xi32>', not 'tensor<i32>'}}
  %0:2 = sparsity.match %s, %e, %q {layer = 0 : i64, policy = #cam} : (!layer, tensor<i32>, tensor<2xi32>) -> (tensor<2x2x3xi32>, tensor<2x2xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %e: tensor<2x2xi32>, %q: tensor<1xi32>) {
  // expected-error @below {{'sequences' must be 'tensor<2xi32>', not 'tensor<1xi32>'}}
  %0:2 = sparsity.match %s, %e, %q {layer = 0 : i64, policy = #cam} : (!layer, tensor<2x2xi32>, tensor<1xi32>) -> (tensor<2x2x3xi32>, tensor<2x2xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %e: tensor<2x2xi32>, %q: tensor<2xi32>) {
  // expected-error @below {{'targets' must be 'tensor<2x2x3xi32>', not 'tensor<2x2x1xi32>'}}
  %0:2 = sparsity.match %s, %e, %q {layer = 0 : i64, policy = #cam} : (!layer, tensor<2x2xi32>, tensor<2xi32>) -> (tensor<2x2x1xi32>, tensor<2x2xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %e: tensor<2x2xi32>, %q: tensor<2xi32>) {
  // expected-error @below {{'share' must be 'tensor<2x2xf32>', not 'tensor<2x2xbf16>'}}
  %0:2 = sparsity.match %s, %e, %q {layer = 0 : i64, policy = #cam} : (!layer, tensor<2x2xi32>, tensor<2xi32>) -> (tensor<2x2x3xi32>, tensor<2x2xbf16>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %t: tensor<2x2x3xi32>, %w: tensor<2x2xf32>, %q: tensor<2xi32>) {
  // expected-error @below {{needs a field 'merged' of 'i32' per head for 'cam'; the layout has none}}
  %0 = sparsity.merge %s, %t, %w, %q {policy = #cam} : (!layer, tensor<2x2x3xi32>, tensor<2x2xf32>, tensor<2xi32>) -> !layer
  return
}

// -----

#d2o = #sparsity.d2o<{budgets = "uniform", heavy = 3, least = 0 : i64, over = 0 : i64, recent = 3, sinks = 1, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %t: tensor<2x2x3xi32>, %w: tensor<2x2xf32>, %q: tensor<2xi32>) {
  // expected-error @below {{needs a field 'threshold' of 'f32' per head for 'd2o'; the layout has none}}
  %0 = sparsity.merge %s, %t, %w, %q {policy = #d2o} : (!layer, tensor<2x2x3xi32>, tensor<2x2xf32>, tensor<2xi32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %t: tensor<2x1x3xi32>, %w: tensor<2x2xf32>, %q: tensor<2xi32>) {
  // expected-error @below {{'targets' must be 'tensor<2x2x3xi32>', not 'tensor<2x1x3xi32>'}}
  %0 = sparsity.merge %s, %t, %w, %q {policy = #cam} : (!layer, tensor<2x1x3xi32>, tensor<2x2xf32>, tensor<2xi32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %t: tensor<2x2x3xi32>, %w: tensor<1x2xf32>, %q: tensor<2xi32>) {
  // expected-error @below {{'share' must be 'tensor<2x2xf32>', not 'tensor<1x2xf32>'}}
  %0 = sparsity.merge %s, %t, %w, %q {policy = #cam} : (!layer, tensor<2x2x3xi32>, tensor<1x2xf32>, tensor<2xi32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %t: tensor<2x2x3xi32>, %w: tensor<2x2xf32>, %q: tensor<2xi64>) {
  // expected-error @below {{'sequences' must be 'tensor<2xi32>', not 'tensor<2xi64>'}}
  %0 = sparsity.merge %s, %t, %w, %q {policy = #cam} : (!layer, tensor<2x2x3xi32>, tensor<2x2xf32>, tensor<2xi64>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>) {
  // expected-error @below {{needs a field 'mass' of 'f32' per slot for 'cam'; the layout has none}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>) -> (tensor<2x12xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [-1, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{compacts a layer without a cap; legal: a layout with a cap for some head}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2, %c3 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> (tensor<2x12xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<2xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{'sequences' must be 'tensor<1xi32>', not 'tensor<2xi32>'}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2, %c3 {layer = 0 : i64, policy = #cam} : (!layer, tensor<2xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> (tensor<2x12xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<6xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{'kept' must be 'tensor<2xi32>', not 'tensor<6xi32>'}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2, %c3 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<6xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> (tensor<2x12xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{'target' must be 'tensor<2x12xi32>', not 'tensor<2x6xi32>'}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2, %c3 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> (tensor<2x6xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{'share' must be 'tensor<2x12xf32>', not 'tensor<2x12xi32>'}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2, %c3 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> (tensor<2x12xi32>, tensor<2x12xi32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>) {
  // expected-error @below {{has 3 copies of slots; this layout has 4: keys, values, positions, scales of codes and its slot fields}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>) -> (tensor<2x12xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x16xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{copy 0 must be 'tensor<2x6x8xbf16>', not 'tensor<2x6x16xbf16>'}}
  %0:2 = sparsity.match_chosen %s, %i, %k, %c0, %c1, %c2, %c3 {layer = 0 : i64, policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x16xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> (tensor<2x12xi32>, tensor<2x12xf32>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>) {
  // expected-error @below {{needs a field 'merged' of 'i32' per head for 'cam'; the layout has none}}
  %0 = sparsity.settle %s, %i, %k, %t, %w {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>) -> !layer
  return
}

// -----

#d2o = #sparsity.d2o<{budgets = "uniform", heavy = 3, least = 0 : i64, over = 0 : i64, recent = 3, sinks = 1, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>) {
  // expected-error @below {{needs a field 'threshold' of 'f32' per head for 'd2o'; the layout has none}}
  %0 = sparsity.settle %s, %i, %k, %t, %w {policy = #d2o} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xf32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>) {
  // expected-error @below {{'kept' must be 'tensor<2xi32>', not 'tensor<2xf32>'}}
  %0 = sparsity.settle %s, %i, %k, %t, %w {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xf32>, tensor<2x12xi32>, tensor<2x12xf32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<1x12xi32>, %w: tensor<2x12xf32>) {
  // expected-error @below {{'target' must be 'tensor<2x12xi32>', not 'tensor<1x12xi32>'}}
  %0 = sparsity.settle %s, %i, %k, %t, %w {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<1x12xi32>, tensor<2x12xf32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x6xf32>) {
  // expected-error @below {{'share' must be 'tensor<2x12xf32>', not 'tensor<2x6xf32>'}}
  %0 = sparsity.settle %s, %i, %k, %t, %w {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x6xf32>) -> !layer
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi64>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{'target' must be 'tensor<2x12xi32>', not 'tensor<2x12xi64>'}}
  %0:2 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi64>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x16xbf16>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{merges 2 copies; 'cam' merges values alone}}
  %0:3 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x16xbf16>, tensor<2x6x8xbf16>)
  return
}

// -----

#d2o = #sparsity.d2o<{budgets = "uniform", heavy = 3, least = 0 : i64, over = 0 : i64, recent = 3, sinks = 1, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{merges 1 copies; 'd2o' merges values and keys}}
  %0:2 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #d2o} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x16xbf16>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xf32>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{'key' must be 'tensor<2x6x8xbf16>', not 'tensor<2x6x8xf32>'}}
  %0:2 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xf32>, tensor<2x6x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x16xbf16>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x12x16xbf16>) {
  // expected-error @below {{'value' must be 'tensor<2x6x16xbf16>', not 'tensor<2x12x16xbf16>'}}
  %0:2 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x12x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x16xbf16>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{'parts' must be 'tensor<2x6xf32>', not 'tensor<2x6xbf16>'}}
  %0:2 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>) -> (tensor<2x6xbf16>, tensor<2x6x16xbf16>)
  return
}

// -----

#cam = #sparsity.cam<{attention = "gathered", followers = 3, mode = "bernoulli", seed = 7, heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{'merged' must be 'tensor<2x6x16xbf16>', not 'tensor<2x6x8xbf16>'}}
  %0:2 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #cam} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x8xbf16>)
  return
}

// -----

#d2o = #sparsity.d2o<{budgets = "uniform", heavy = 3, least = 0 : i64, over = 0 : i64, recent = 3, sinks = 1, mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, heads = array<i64>, prefill = "dense"}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>,
    #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %t: tensor<2x12xi32>, %w: tensor<2x12xf32>, %key: tensor<2x6x8xbf16>, %value: tensor<2x6x16xbf16>) {
  // expected-error @below {{'merged' must be 'tensor<2x6x8xbf16>', not 'tensor<2x6x16xbf16>'}}
  %0:3 = sparsity.merge_chosen %s, %i, %k, %t, %w, %key, %value {policy = #d2o} : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12xi32>, tensor<2x12xf32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>) -> (tensor<2x6xf32>, tensor<2x6x16xbf16>, tensor<2x6x16xbf16>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [], policies = []>>
func.func @f(%s: !layer, %q: tensor<2xi32>) {
  // expected-error @below {{needs the field 'likely' in the layout}}
  %0:4 = sparsity.nearest_part %s, %q {segment = 0 : i64} : (!layer, tensor<2xi32>) -> (tensor<2x2x3xi32>, tensor<2x2x5x3xf32>, tensor<2x2x5x3xi32>, tensor<2x2x5x3xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "likely", scope = head, type = i32, shape = [3], init = -1 : i32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %q: tensor<2xi32>) {
  // expected-error @below {{'position' must be 'tensor<2x2x5x3xi32>', not 'tensor<2x2x5x4xi32>'}}
  %0:4 = sparsity.nearest_part %s, %q {segment = 0 : i64} : (!layer, tensor<2xi32>) -> (tensor<2x2x3xi32>, tensor<2x2x5x3xf32>, tensor<2x2x5x4xi32>, tensor<2x2x5x3xi32>)
  return
}

// -----

#d2o = #sparsity.d2o<{heavy = 3, recent = 3, sinks = 0, budgets = "uniform", mode = "code", merge_keys = true, alpha = 0.5, beta = 0.5, over = 0, least = 0, prefill = "dense", heads = array<i64>}>
!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [
    #kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %e: tensor<2x2xi32>, %q: tensor<2xi32>, %p: tensor<2x2x3xi32>) {
  // expected-error @below {{takes the four results of sparsity.nearest_part or none of them}}
  %0:2 = sparsity.match %s, %e, %q, %p {layer = 0 : i64, policy = #d2o} : (!layer, tensor<2x2xi32>, tensor<2xi32>, tensor<2x2x3xi32>) -> (tensor<2x2x1xi32>, tensor<2x2xf32>)
  return
}
