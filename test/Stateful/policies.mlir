// Policies decide the layout and what surrounds attention.
// RUN: sed 's/ POLICY/, sparsity.selection = #sparsity.page_topk<{budget = 64 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 32 : i64, per_query_head = true, sinks = 0 : i64}>/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=QUEST
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 8 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 8 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=H2O
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64>, heavy = 8 : i64, least = 0 : i64, over = 0 : i64, prefill = "chunked", recent = 8 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=CHUNKED
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.streaming<{heads = array<i64: 1>, sinks = 4 : i64, window = 20 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=SOME
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.streaming<{heads = array<i64>, sinks = 4 : i64, window = 20 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=ALL
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.streaming<{heads = array<i64: 1>, sinks = 4 : i64, window = 20 : i64}>, #sparsity.h2o<{heads = array<i64: 0>, heavy = 8 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 8 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=LATE
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.h2o<{heads = array<i64: 1>, heavy = 12 : i64, least = 6 : i64, over = 200 : i64, prefill = "dense", recent = 8 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=GROWS
// RUN: sed 's/ POLICY/, sparsity.kv = [#sparsity.d2o<{budgets = "uniform", alpha = 0.5, beta = 0.5, heads = array<i64>, heavy = 12 : i64, least = 2 : i64, merge_keys = true, mode = "code", over = 200 : i64, prefill = "dense", recent = 8 : i64, sinks = 6 : i64}>]/' %S/../Inputs/one-layer.mlir.in \
// RUN:   | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1" | FileCheck %s --check-prefix=SINKS

// Selection sets the page, keeps its fields, acts in decode only, one list per query head.
// QUEST: page = 32, type = f32, slotted = false, max_pages = 8
// QUEST-SAME: name = "page_max", scope = page, type = f32, shape = [16], init = 0xFF800000 : f32, content = true
// QUEST-LABEL: func.func @prefill
// QUEST-NOT: sparsity.score
// QUEST-LABEL: func.func @decode_b1
// QUEST: %[[U:.*]] = sparsity.score {{.*}} -> tensor<1x4x8xf32>
// QUEST: %[[I:.*]], %[[C:.*]] = sparsity.select %[[U]], {{.*}} -> (tensor<1x4x2xi32>, tensor<1x4xi32>)
// QUEST: sparsity.attend {{.*}}, %[[I]], %[[C]]
// QUEST-LABEL: func.func @maintain_rebuild
// QUEST: kvcache.rebuild

// Eviction makes slots, with room for the whole context while a prompt is read densely.
// H2O: slotted = true, max_pages = 17, caps = [16, 16], prefill_cap = end
// H2O-LABEL: func.func @prefill
// H2O: %[[LSE:.*]] = sparsity.attend
// H2O: %[[MASS:.*]] = sparsity.mass {{.*}}prefill{{.*}} -> tensor<1x2x272xf32>
// H2O: kvcache.compress %{{.*}}, %[[MASS]], {{.*}} {prefill}
// H2O-LABEL: func.func @decode_b1
// H2O: sparsity.mass
// H2O: kvcache.compress
// H2O-LABEL: func.func @maintain_compact
// H2O: %[[ORDER:.*]], %[[KEPT:.*]], %{{.*}} = kvcache.choose
// H2O: %[[SLOTS:.*]]:4 = kvcache.gather %{{.*}}, %{{.*}}, %[[ORDER]], %[[KEPT]]
// H2O: kvcache.place

// Cut after each chunk, a head needs its budget, the hole of a victim and one chunk: 16 + 1 + 8 slots, and never more.
// CHUNKED: slotted = true, max_pages = 2, caps = [16, 16], prefill_cap = chunk
// CHUNKED-LABEL: func.func @prefill
// CHUNKED: sparsity.mass
// CHUNKED: kvcache.compress %{{.*}} {prefill}

// A layer with one unbounded head needs the whole context; one without is really bounded: cap, hole, chunk.
// SOME: max_pages = 17, caps = [-1, 24], prefill_cap = chunk
// ALL: max_pages = 3, caps = [24, 24], prefill_cap = chunk

// Nobody sees what streaming evicts: beside a method that reads the prompt densely it leaves with the rest.
// LATE: max_pages = 17, caps = [16, 24], prefill_cap = end

// Caps that follow the length. D2O keeps room for its six sinks and the four tokens that are recent when they are half of 12.
// GROWS: caps = [-1, 20], prefill_cap = end,{{.*}} cap_over = [0, 200], cap_least = [0, 6]>
// SINKS: caps = [20, 20], prefill_cap = end,{{.*}} cap_over = [200, 200], cap_least = [10, 10]>
