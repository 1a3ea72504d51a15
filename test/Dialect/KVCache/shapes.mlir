// RUN: sparse-opt %s --split-input-file --verify-diagnostics

// What the operands and results of cache ops must be follows from the layout: here 2 KV heads of 12 slots, keys of 8 channels,
// values of 16, in bf16; the first head is cut to 6 slots; one field per slot.

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi64>, %k: tensor<2x16xf32>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'positions' must be 'tensor<2xi32>', not 'tensor<2xi64>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<2x32xf32>, tensor<2xi64>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<i32>, %k: tensor<2x16xf32>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'positions' must be 'tensor<?xi32>', not 'tensor<i32>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<2x32xf32>, tensor<i32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x32xf32>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'key' must be 'tensor<2x16xf32>', not 'tensor<2x32xf32>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x32xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x16xbf16>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'key' must be 'tensor<2x16xf32>', not 'tensor<2x16xbf16>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xbf16>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x16xf32>, %v: tensor<3x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'value' must be 'tensor<2x32xf32>', not 'tensor<3x32xf32>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<3x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x16xf32>, %v: tensor<2x32xf32>, %q: tensor<1xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'sequences' must be 'tensor<2xi32>', not 'tensor<1xi32>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<1xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x16xf32>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi1>, %e: tensor<1xi32>) {
  // expected-error @below {{'active' must be 'tensor<2xi32>', not 'tensor<2xi1>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi1>, tensor<1xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x16xf32>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<2xi32>) {
  // expected-error @below {{'status' must be 'tensor<1xi32>', not 'tensor<2xi32>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<1xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %k: tensor<2x16xf32>, %v: tensor<2x32xf32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %e: tensor<1xi32>) {
  // expected-error @below {{'new_status' must be 'tensor<1xi32>', not 'tensor<1xi64>'}}
  %0:2 = kvcache.append %s, %k, %v, %p, %q, %a, %e : (!layer, tensor<2x16xf32>, tensor<2x32xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<1xi32>) -> (!layer, tensor<1xi64>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
!other = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 4, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>) {
  // expected-error @below {{failed to verify that all of {state, result} have same type}}
  %0 = kvcache.rebuild %s, %i : (!layer, tensor<1xi32>) -> !other
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %m0: tensor<2x2x12xf32>, %m1: tensor<2x2x12xf32>) {
  // expected-error @below {{takes one 'mass' or none, not 2}}
  %0:2 = kvcache.compress %s, %m0, %m1, %p, %q, %a : (!layer, tensor<2x2x12xf32>, tensor<2x2x12xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<2x2xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %m0: tensor<2x2x12xf32>) {
  // expected-error @below {{has one 'evicted' or none, not 2}}
  %0:3 = kvcache.compress %s, %m0, %p, %q, %a : (!layer, tensor<2x2x12xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<2x2xi32>, tensor<2x2xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %m0: tensor<1x2x12xf32>) {
  // expected-error @below {{has no 'evicted' in prefill: a chunk of a prompt evicts nothing}}
  %0:2 = kvcache.compress %s, %m0, %p, %q, %a {prefill} : (!layer, tensor<1x2x12xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<1x2xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %m0: tensor<2x2x12xf32>) {
  // expected-error @below {{'mass' must be 'tensor<1x2x12xf32>', not 'tensor<2x2x12xf32>'}}
  %0 = kvcache.compress %s, %m0, %p, %q, %a {prefill} : (!layer, tensor<2x2x12xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> !layer
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %m0: tensor<2x2x16xf32>) {
  // expected-error @below {{'mass' must be 'tensor<2x2x12xf32>', not 'tensor<2x2x16xf32>'}}
  %0:2 = kvcache.compress %s, %m0, %p, %q, %a : (!layer, tensor<2x2x16xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<2x2xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xi32>, %m0: tensor<2x2x12xf32>) {
  // expected-error @below {{'evicted' must be 'tensor<2x2xi32>', not 'tensor<2x3xi32>'}}
  %0:2 = kvcache.compress %s, %m0, %p, %q, %a : (!layer, tensor<2x2x12xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> (!layer, tensor<2x3xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<1xi32>, %a: tensor<2xi32>, %m0: tensor<2x2x12xf32>) {
  // expected-error @below {{'sequences' must be 'tensor<2xi32>', not 'tensor<1xi32>'}}
  %0:2 = kvcache.compress %s, %m0, %p, %q, %a : (!layer, tensor<2x2x12xf32>, tensor<2xi32>, tensor<1xi32>, tensor<2xi32>) -> (!layer, tensor<2x2xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %p: tensor<2xi32>, %q: tensor<2xi32>, %a: tensor<2xf32>, %m0: tensor<2x2x12xf32>) {
  // expected-error @below {{'active' must be 'tensor<2xi32>', not 'tensor<2xf32>'}}
  %0:2 = kvcache.compress %s, %m0, %p, %q, %a : (!layer, tensor<2x2x12xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>) -> (!layer, tensor<2x2xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [-1, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>) {
  // expected-error @below {{compacts a layer without a cap; legal: a layout with a cap for some head}}
  %0:3 = kvcache.choose %s, %i : (!layer, tensor<1xi32>) -> (tensor<2x6xi32>, tensor<2xi32>, tensor<2x12xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<2xi32>) {
  // expected-error @below {{'sequences' must be 'tensor<1xi32>', not 'tensor<2xi32>'}}
  %0:3 = kvcache.choose %s, %i : (!layer, tensor<2xi32>) -> (tensor<2x6xi32>, tensor<2xi32>, tensor<2x12xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>) {
  // expected-error @below {{'order' must be 'tensor<2x6xi32>', not 'tensor<2x12xi32>'}}
  %0:3 = kvcache.choose %s, %i : (!layer, tensor<1xi32>) -> (tensor<2x12xi32>, tensor<2xi32>, tensor<2x12xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>) {
  // expected-error @below {{'kept' must be 'tensor<2xi32>', not 'tensor<6xi32>'}}
  %0:3 = kvcache.choose %s, %i : (!layer, tensor<1xi32>) -> (tensor<2x6xi32>, tensor<6xi32>, tensor<2x12xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>) {
  // expected-error @below {{'keys' must be 'tensor<2x12xi32>', not 'tensor<2x12xf32>'}}
  %0:3 = kvcache.choose %s, %i : (!layer, tensor<1xi32>) -> (tensor<2x6xi32>, tensor<2xi32>, tensor<2x12xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi64>, %o: tensor<2x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{'sequences' must be 'tensor<1xi32>', not 'tensor<1xi64>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi64>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<1x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{'order' must be 'tensor<2x6xi32>', not 'tensor<1x6xi32>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<1x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<2x6xi32>, %k: tensor<2xi64>) {
  // expected-error @below {{'kept' must be 'tensor<2xi32>', not 'tensor<2xi64>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi64>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<2x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{has 3 copies of slots; this layout has 4: keys, values, positions, scales of codes and its slot fields}}
  %0:3 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<2x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{copy 0 must be 'tensor<2x6x8xbf16>', not 'tensor<2x6x8xf32>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xf32>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<2x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{copy 1 must be 'tensor<2x6x16xbf16>', not 'tensor<2x6x8xbf16>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x8xbf16>, tensor<2x6xi32>, tensor<2x6xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<2x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{copy 2 must be 'tensor<2x6xi32>', not 'tensor<2x6xf32>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xf32>, tensor<2x6xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %o: tensor<2x6xi32>, %k: tensor<2xi32>) {
  // expected-error @below {{copy 3 must be 'tensor<2x6xf32>', not 'tensor<2x12xf32>'}}
  %0:4 = kvcache.gather %s, %i, %o, %k : (!layer, tensor<1xi32>, tensor<2x6xi32>, tensor<2xi32>) -> (tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x12xf32>)
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<3xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{'sequences' must be 'tensor<1xi32>', not 'tensor<3xi32>'}}
  %0 = kvcache.place %s, %i, %k, %c0, %c1, %c2, %c3 : (!layer, tensor<3xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> !layer
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<1xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{'kept' must be 'tensor<2xi32>', not 'tensor<1xi32>'}}
  %0 = kvcache.place %s, %i, %k, %c0, %c1, %c2, %c3 : (!layer, tensor<1xi32>, tensor<1xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> !layer
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x6x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>, %c4: tensor<2x6xf32>) {
  // expected-error @below {{has 5 copies of slots; this layout has 4: keys, values, positions, scales of codes and its slot fields}}
  %0 = kvcache.place %s, %i, %k, %c0, %c1, %c2, %c3, %c4 : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x6x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>, tensor<2x6xf32>) -> !layer
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<1xi32>, %k: tensor<2xi32>, %c0: tensor<2x12x8xbf16>, %c1: tensor<2x6x16xbf16>, %c2: tensor<2x6xi32>, %c3: tensor<2x6xf32>) {
  // expected-error @below {{copy 0 must be 'tensor<2x6x8xbf16>', not 'tensor<2x12x8xbf16>'}}
  %0 = kvcache.place %s, %i, %k, %c0, %c1, %c2, %c3 : (!layer, tensor<1xi32>, tensor<2xi32>, tensor<2x12x8xbf16>, tensor<2x6x16xbf16>, tensor<2x6xi32>, tensor<2x6xf32>) -> !layer
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 8, value_dim = 16, page = 4, type = bf16,
    slotted = true, max_pages = 3, caps = [6, -1], prefill_cap = chunk, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>], policies = []>>
func.func @f(%s: !layer, %i: tensor<2xi32>) {
  // expected-error @below {{'sequences' must be 'tensor<1xi32>', not 'tensor<2xi32>'}}
  %0 = kvcache.rebuild %s, %i : (!layer, tensor<2xi32>) -> !layer
  return
}
