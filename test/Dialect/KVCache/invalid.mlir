// RUN: sparse-opt %s --split-input-file --verify-diagnostics

// expected-error @below {{kv_heads is 0; it must be positive}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 0, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

#mass = #kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>
#other = #kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 1.0 : f32, content = false, counter = false>
// expected-error @below {{two different fields have the name "mass"; they must be the same, or differ in name}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [#mass, #other], policies = []>}

// -----

// expected-error @below {{key_dim is 0; it must be positive}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 0, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{value_dim is 0; it must be positive}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 0, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{page is 0; it must be positive}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 0, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{max_pages is 0; it must be positive}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 0, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{page is -4; it must be positive}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = -4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{keys and values of type 'i32' are not supported; f32 and bf16 are}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = i32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{caps has 1 entries for 2 KV heads}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{a cap of 0 slots; it must be positive, or -1 for none}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [0, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{a cap of -2 slots; it must be positive, or -1 for none}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [-2, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{a capped head needs slotted = true}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [8, -1], prefill_cap = none, fields = [], policies = []>}

// -----

// expected-error @below {{cap_over and cap_least go together, with an entry for each of the 2 KV heads}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [8, -1], prefill_cap = end, fields = [], policies = [], cap_over = [16, 0]>}

// -----

// expected-error @below {{cap_over and cap_least go together, with an entry for each of the 2 KV heads}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [8, -1], prefill_cap = end, fields = [], policies = [], cap_over = [16], cap_least = [1]>}

// -----

// expected-error @below {{a cap of 8 slots over 7 tokens with 1 at least; legal: 1 <= cap_least <= cap <= cap_over}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [8, -1], prefill_cap = end, fields = [], policies = [], cap_over = [7, 0], cap_least = [1, 0]>}

// -----

// expected-error @below {{a cap of 8 slots over 16 tokens with 9 at least; legal: 1 <= cap_least <= cap <= cap_over}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [8, -1], prefill_cap = end, fields = [], policies = [], cap_over = [16, 0], cap_least = [9, 0]>}

// -----

// expected-error @below {{a cap of 8 slots over 16 tokens with 0 at least; legal: 1 <= cap_least <= cap <= cap_over}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [8, -1], prefill_cap = end, fields = [], policies = [], cap_over = [16, 0], cap_least = [0, 0]>}

// -----

// expected-error @below {{a cap of -1 slots over 16 tokens with 1 at least; legal: 1 <= cap_least <= cap <= cap_over}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 64, caps = [8, -1], prefill_cap = end, fields = [], policies = [], cap_over = [16, 16], cap_least = [1, 1]>}

// -----

// expected-error @below {{fields holds 1 : i32, which is no #kvcache.field}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [1 : i32], policies = []>}

// -----

// expected-error @below {{expected ::sparse::kvcache::PrefillCap to be one of: none, end, chunk}}
// expected-error @below {{failed to parse KVCache_LayoutAttr parameter 'prefill_cap' which is to be a `::sparse::kvcache::PrefillCap`}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = never, fields = [], policies = []>}

// -----

// expected-error @below {{struct is missing required parameter: key_dim}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2>}

// -----

func.func @f(%x: tensor<1xi32>) {
  // expected-error @below {{operand #0 must be the cache of one layer, for all sequences, but got 'tensor<1xi32>'}}
  %0 = kvcache.rebuild %x, %x : (tensor<1xi32>, tensor<1xi32>) -> tensor<1xi32>
  return
}

// -----

!layer = !kvcache.layer<#kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = []>>
func.func @f(%s: !layer, %x: tensor<*xi32>) {
  // expected-error @below {{operand #1 must be tensor, but got 'tensor<*xi32>'}}
  %0 = kvcache.rebuild %s, %x : (!layer, tensor<*xi32>) -> !layer
  return
}

// -----

// expected-error @below {{codes of type 'f16' are not supported; i8 and f8E4M3FN are}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [], policies = [], storage = f16>}

// -----

// expected-error @below {{field likely must hold i32 [P] for each head}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = false, max_pages = 64, caps = [-1, -1], prefill_cap = none, fields = [#kvcache.field<name = "likely", scope = slot, type = i32, shape = [], init = -1 : i32, content = false, counter = false>], policies = []>}

// -----

// expected-error @below {{caps_of_prompt needs a cap for some head and prefill_cap = end: a whole prompt sets them}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 8, caps = [-1, -1], prefill_cap = end, fields = [], policies = [], caps_of_prompt = true>}

// -----

// expected-error @below {{caps_of_prompt needs a cap for some head and prefill_cap = end: a whole prompt sets them}}
func.func private @f() attributes {test.a = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 4, type = f32, slotted = true, max_pages = 8, caps = [8, -1], prefill_cap = chunk, fields = [], policies = [], caps_of_prompt = true>}
