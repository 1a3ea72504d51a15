// One layer in canonical form becomes entries whose cache is state.
// RUN: sed 's/ POLICY//' %S/../Inputs/one-layer.mlir.in | sparse-opt --sparse-stateful="prefill-chunk=8 buckets=1,4" \
// RUN:   | FileCheck %s

// CHECK: #layout = #kvcache.layout<kv_heads = 2, key_dim = 16, value_dim = 16, page = 16, type = f32, slotted = false, max_pages = 16, caps = [-1, -1], prefill_cap = none
// CHECK: sparsity.model = {head_dim = 16 : i64, heads = 4 : i64, hidden = 64 : i64, kv_dtype = "f32", kv_heads = 2 : i64, layers = 1 : i64, max_context = 256 : i64, prefill_chunk = 8 : i64, vocab = 320 : i64}
// CHECK-NOT: @main

// CHECK-LABEL: func.func @prefill
// CHECK-SAME: %[[IDS:[a-z0-9]+]]: tensor<8xi32> {plan.name = "ids"}, %[[POS:[a-z0-9]+]]: tensor<8xi32> {plan.name = "positions"}
// CHECK-SAME: %[[STATE:[a-z0-9]+]]: !layer) -> (tensor<8x64xf32> {plan.name = "hidden"}, !layer, tensor<1xi32>)
// CHECK-SAME: plan.kind = "prefill", plan.rows = 8
// CHECK: onnx.Gather %{{.*}}, %[[IDS]] : (tensor<320x64xf32>, tensor<8xi32>) -> tensor<8x64xf32>
// CHECK: onnx.RotaryEmbedding %{{.*}}, %{{.*}}, %{{.*}}, %[[POS]]
// CHECK: %[[NEXT:.*]], %{{.*}} = kvcache.append %[[STATE]], {{.*}} {prefill}
// CHECK: sparsity.attend %{{.*}}, %[[NEXT]], {{.*}} prefill, scale = 2.500000e-01
// CHECK-NOT: kvcache.compress
// The head is not part of a prompt's work.
// CHECK-NOT: tensor<8x320xf32>
// CHECK: return %{{.*}}, %[[NEXT]]

// CHECK-LABEL: func.func @decode_b1
// CHECK-SAME: -> (tensor<1x320xf32> {plan.name = "logits"}, !layer, tensor<1xi32>)
// CHECK-LABEL: func.func @decode_b4
// CHECK-SAME: plan.rows = 4

// CHECK-LABEL: func.func @sample_b1
// CHECK-LABEL: func.func @sample_b4
// CHECK-SAME: %[[LOGITS:[a-z0-9]+]]: tensor<4x320xf32> {plan.name = "logits"}, %[[NEXT:[a-z0-9]+]]: tensor<4xi32> {plan.name = "ids"}
// CHECK-SAME: tensor<4xi64> {plan.name = "counters"}, %{{[a-z0-9]+}}: tensor<4x8xi32> {plan.name = "stops"})
// CHECK-SAME: -> (tensor<4xi32> {plan.name = "tokens"}, tensor<4xi32>, tensor<4xi32>, tensor<4xi32>, tensor<4xi64>) attributes {plan.kind = "sample", plan.rows = 4
// CHECK: sparsity.sample %[[LOGITS]], %[[NEXT]]

// CHECK-LABEL: func.func @logits
// CHECK-SAME: (%[[HIDDEN:.*]]: tensor<16x64xf32> {plan.name = "hidden"}) -> (tensor<16x320xf32> {plan.name = "logits"})
// CHECK: onnx.RMSNormalization %[[HIDDEN]]
// CHECK: onnx.MatMul
// CHECK-NOT: onnx.MatMul

// CHECK-LABEL: func.func @maintain_compact
// CHECK-NOT: kvcache.choose
// CHECK-LABEL: func.func @maintain_rebuild
// CHECK-NOT: kvcache.rebuild
