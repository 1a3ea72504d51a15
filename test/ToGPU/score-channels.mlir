// Fields that lie by channel: of each channel the sign of the query picks the one field that is read.
//
// RUN: sparse-opt compile %s --compile-from stateful --compile-to kernels -o %t.mlir
// RUN: FileCheck %s < %t.mlir
// RUN: sparse-opt compile %s --compile-from stateful -o %t.spx

#quest = #sparsity.page_topk<{budget = 64 : i64, group = "max", least = 0 : i64, over = 0 : i64, page = 16 : i64, per_query_head = false, sinks = 0 : i64}>
#layout = #kvcache.layout<kv_heads = 4, key_dim = 64, value_dim = 64, page = 16, type = bf16, slotted = false, max_pages = 32, caps = [-1, -1, -1, -1], prefill_cap = none, fields = [#kvcache.field<name = "page_max", scope = page, type = bf16, shape = [64], init = 0xFF80 : bf16, content = true, counter = false>, #kvcache.field<name = "page_min", scope = page, type = bf16, shape = [64], init = 0x7F80 : bf16, content = true, counter = false>], policies = [#quest], keys_by_slot = true, fields_by_channel = true>

module attributes {sparsity.target = #sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>} {
  func.func @step(%query: tensor<1x256xf32> {plan.name = "query"}, %sequences: tensor<1xi32> {plan.name = "sequences"}, %layer: !kvcache.layer<#layout>)
      -> (tensor<1x4x32xf32> {plan.name = "scores"}) attributes {plan.kind = "decode", plan.rows = 1 : i64} {
    %scores = sparsity.score %query, %layer, %sequences {policy = #quest}
        : (tensor<1x256xf32>, !kvcache.layer<#layout>, tensor<1xi32>) -> tensor<1x4x32xf32>
    return %scores : tensor<1x4x32xf32>
  }
}

// CHECK: plan.state {{.*}}"page_max" : memref<?x4x32x64xbf16, strided<[8192, 2048, 1, 32]>>
// CHECK: plan.launch @score_0 {{.*}}grid = [1, 4, 1], block = [256, 1, 1]
// Eight warps have eight channels each, all under way before the first is used.
// CHECK: gpu.func @score_0
// CHECK: nvvm.griddepcontrol wait
// CHECK: arith.cmpf oge
// CHECK: arith.select {{.*}} : !llvm.ptr<1>
// CHECK-COUNT-8: ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32
// CHECK: math.fma
// CHECK: gpu.barrier
