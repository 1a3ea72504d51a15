// What becomes of evicted slots on a GPU: CaM spreads them over their followers, D2O puts them into the most similar key.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx

#cam = #sparsity.cam<{attention = "gathered", followers = 32 : i64, heads = array<i64>, mode = "bernoulli", seed = 0 : i64}>
#d2o = #sparsity.d2o<{budgets = "uniform", alpha = 5.000000e-01 : f64, beta = 5.000000e-01 : f64, heads = array<i64>, heavy = 64 : i64, least = 0 : i64, merge_keys = true, mode = "code", over = 0 : i64, prefill = "dense", recent = 64 : i64, sinks = 4 : i64}>
#h2o = #sparsity.h2o<{heads = array<i64>, heavy = 64 : i64, least = 0 : i64, over = 0 : i64, prefill = "dense", recent = 64 : i64}>
#over_h2o = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 33, caps = [128, 128], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>, #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = [#h2o, #cam], keys_by_slot = true>
#alone = #kvcache.layout<kv_heads = 2, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = true, max_pages = 33, caps = [128, 128], prefill_cap = end, fields = [#kvcache.field<name = "mass", scope = slot, type = f32, shape = [], init = 0.0 : f32, content = false, counter = false>, #kvcache.field<name = "threshold", scope = head, type = f32, shape = [], init = 0xFF800000 : f32, content = false, counter = false>, #kvcache.field<name = "merged", scope = head, type = i32, shape = [], init = 0 : i32, content = false, counter = true>], policies = [#d2o], keys_by_slot = true>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>, sparsity.layouts = [#over_h2o, #alone]} {
  func.func @step_cam(%evicted: tensor<2x2xi32> {plan.name = "evicted"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#over_h2o> {plan.layer = 0 : i64})
      -> !kvcache.layer<#over_h2o> attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %targets, %share = sparsity.match %layer, %evicted, %sequences {layer = 0 : i64, policy = #cam} : (!kvcache.layer<#over_h2o>, tensor<2x2xi32>, tensor<2xi32>) -> (tensor<2x2x32xi32>, tensor<2x2xf32>)
    %next = sparsity.merge %layer, %targets, %share, %sequences {policy = #cam} : (!kvcache.layer<#over_h2o>, tensor<2x2x32xi32>, tensor<2x2xf32>, tensor<2xi32>) -> !kvcache.layer<#over_h2o>
    return %next : !kvcache.layer<#over_h2o>
  }
  func.func @step_d2o(%evicted: tensor<2x2xi32> {plan.name = "evicted"}, %sequences: tensor<2xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#alone> {plan.layer = 1 : i64})
      -> !kvcache.layer<#alone> attributes {plan.kind = "decode", plan.rows = 2 : i64} {
    %targets, %share = sparsity.match %layer, %evicted, %sequences {layer = 0 : i64, policy = #d2o} : (!kvcache.layer<#alone>, tensor<2x2xi32>, tensor<2xi32>) -> (tensor<2x2x1xi32>, tensor<2x2xf32>)
    %next = sparsity.merge %layer, %targets, %share, %sequences {policy = #d2o} : (!kvcache.layer<#alone>, tensor<2x2x1xi32>, tensor<2x2xf32>, tensor<2xi32>) -> !kvcache.layer<#alone>
    return %next : !kvcache.layer<#alone>
  }
  func.func @compact_cam(%sequences: tensor<1xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#over_h2o> {plan.layer = 0 : i64})
      -> !kvcache.layer<#over_h2o> attributes {plan.kind = "maintain_compact", plan.rows = 1 : i64} {
    %order, %kept, %keys = kvcache.choose %layer, %sequences : (!kvcache.layer<#over_h2o>, tensor<1xi32>) -> (tensor<2x128xi32>, tensor<2xi32>, tensor<2x528xi32>)
    %0:4 = kvcache.gather %layer, %sequences, %order, %kept : (!kvcache.layer<#over_h2o>, tensor<1xi32>, tensor<2x128xi32>, tensor<2xi32>) -> (tensor<2x128x64xbf16>, tensor<2x128x64xbf16>, tensor<2x128xi32>, tensor<2x128xf32>)
    %target, %share = sparsity.match_chosen %layer, %sequences, %kept, %0#0, %0#1, %0#2, %0#3 {layer = 0 : i64, policy = #cam} : (!kvcache.layer<#over_h2o>, tensor<1xi32>, tensor<2xi32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>, tensor<2x128xi32>, tensor<2x128xf32>) -> (tensor<2x528xi32>, tensor<2x528xf32>)
    %settled = sparsity.settle %layer, %sequences, %kept, %target, %share {policy = #cam} : (!kvcache.layer<#over_h2o>, tensor<1xi32>, tensor<2xi32>, tensor<2x528xi32>, tensor<2x528xf32>) -> !kvcache.layer<#over_h2o>
    %parts, %merged = sparsity.merge_chosen %settled, %sequences, %kept, %target, %share, %0#0, %0#1 {policy = #cam} : (!kvcache.layer<#over_h2o>, tensor<1xi32>, tensor<2xi32>, tensor<2x528xi32>, tensor<2x528xf32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>) -> (tensor<2x128xf32>, tensor<2x128x64xbf16>)
    %placed = kvcache.place %settled, %sequences, %kept, %0#0, %merged, %0#2, %0#3 : (!kvcache.layer<#over_h2o>, tensor<1xi32>, tensor<2xi32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>, tensor<2x128xi32>, tensor<2x128xf32>) -> !kvcache.layer<#over_h2o>
    return %placed : !kvcache.layer<#over_h2o>
  }
  func.func @compact_d2o(%sequences: tensor<1xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#alone> {plan.layer = 1 : i64})
      -> !kvcache.layer<#alone> attributes {plan.kind = "maintain_compact", plan.rows = 1 : i64} {
    %order, %kept, %keys = kvcache.choose %layer, %sequences : (!kvcache.layer<#alone>, tensor<1xi32>) -> (tensor<2x128xi32>, tensor<2xi32>, tensor<2x528xi32>)
    %0:4 = kvcache.gather %layer, %sequences, %order, %kept : (!kvcache.layer<#alone>, tensor<1xi32>, tensor<2x128xi32>, tensor<2xi32>) -> (tensor<2x128x64xbf16>, tensor<2x128x64xbf16>, tensor<2x128xi32>, tensor<2x128xf32>)
    %target, %share = sparsity.match_chosen %layer, %sequences, %kept, %0#0, %0#1, %0#2, %0#3 {layer = 0 : i64, policy = #d2o} : (!kvcache.layer<#alone>, tensor<1xi32>, tensor<2xi32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>, tensor<2x128xi32>, tensor<2x128xf32>) -> (tensor<2x528xi32>, tensor<2x528xf32>)
    %settled = sparsity.settle %layer, %sequences, %kept, %target, %share {policy = #d2o} : (!kvcache.layer<#alone>, tensor<1xi32>, tensor<2xi32>, tensor<2x528xi32>, tensor<2x528xf32>) -> !kvcache.layer<#alone>
    %parts, %merged:2 = sparsity.merge_chosen %settled, %sequences, %kept, %target, %share, %0#0, %0#1 {policy = #d2o} : (!kvcache.layer<#alone>, tensor<1xi32>, tensor<2xi32>, tensor<2x528xi32>, tensor<2x528xf32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>) -> (tensor<2x128xf32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>)
    %placed = kvcache.place %settled, %sequences, %kept, %merged#1, %merged#0, %0#2, %0#3 : (!kvcache.layer<#alone>, tensor<1xi32>, tensor<2xi32>, tensor<2x128x64xbf16>, tensor<2x128x64xbf16>, tensor<2x128xi32>, tensor<2x128xf32>) -> !kvcache.layer<#alone>
    return %placed : !kvcache.layer<#alone>
  }
}

// CHECK: plan.launch @match_0 {{.*}}grid = [1, 2, 2], block = [512, 1, 1]
// CHECK: plan.launch @merge_0 {{.*}}grid = [2, 2, 1], block = [512, 1, 1]
// A cluster for each head of a row.
// CHECK: plan.launch @match_1 {{.*}}grid = [8, 2, 2], block = [256, 1, 1], cluster = 8
// CHECK: plan.launch @merge_1 {{.*}}grid = [2, 2, 1], block = [64, 1, 1]
// CHECK: plan.launch @match_chosen_0 {{.*}}grid = [3, 2, 1], block = [256, 1, 1]
// CHECK: plan.launch @settle_0 {{.*}}grid = [2, 1, 1], block = [512, 1, 1]
// CHECK: plan.launch @merge_chosen_0 {{.*}}grid = [16, 2, 1], block = [256, 1, 1]
// CHECK: plan.launch @match_chosen_1 {{.*}}grid = [9, 2, 1], block = [256, 1, 1]

// Digits of the later positions are counted, and the random number drawn.
// CHECK-LABEL: gpu.func @match_0
// CHECK: scf.while
// CHECK: llvm.atomicrmw add
// CHECK: nvvm.vote.sync ballot
// CHECK: arith.mului_extended
// All values at once: there is no threshold and no key.
// CHECK-LABEL: gpu.func @merge_0
// CHECK-NOT: scf.while
// CHECK: vector<8xbf16>
// The most similar key, by products with the victim's and with themselves: over the lanes, the warps, and the blocks of the
// cluster.
// CHECK-LABEL: gpu.func @match_1
// CHECK-COUNT-12: nvvm.mma.sync
// CHECK: gpu.shuffle
// CHECK: gpu.barrier
// CHECK: nvvm.cluster.arrive
// CHECK: nvvm.cluster.wait
// CHECK: nvvm.mapa
// Tiles of keys meet in shared memory; the similarities stay in registers.
// CHECK-LABEL: gpu.func @match_chosen_1
// CHECK: gpu.barrier
// CHECK-COUNT-24: math.fma
