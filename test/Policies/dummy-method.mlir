// A method that only a test knows compiles: nothing but its own files mentions it.
// RUN: sparse-test-opt %s "--sparse-mark=attention=dummy_score:pages=2 kv=dummy_newest:cap=6" -o %t.marked
// RUN: FileCheck %s --check-prefix=MARK --input-file=%t.marked
// RUN: sparse-test-opt %t.marked "--sparse-stateful=buckets=1 max-context=256 prefill-chunk=8" -o %t.entries
// RUN: FileCheck %s --check-prefix=ENTRY --input-file=%t.entries
// RUN: sparse-test-opt %t.entries --sparse-fuse --sparse-convert-to-linalg | FileCheck %s --check-prefix=LINALG
// RUN: sparse-test-opt %t.entries --sparse-fuse --sparse-convert-to-linalg --sparse-cpu-kernels | FileCheck %s --check-prefix=KERNELS
// RUN: not sparse-test-opt %s --sparse-mark=attention=dummy_scor 2>&1 | FileCheck %s --check-prefix=NEAR
// RUN: not sparse-opt %s --sparse-mark=attention=dummy_score 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// MARK: #dummy_newest = #test_policy.dummy_newest<{cap = 6 : i64}>
// MARK: #dummy_score = #test_policy.dummy_score<{pages = 2 : i64}>
// MARK: attention: {dummy_score: {pages: 2}}\0A    kv: {dummy_newest: {cap: 6}}
// MARK: onnx.Attention
// MARK-SAME: sparsity.kv = [#dummy_newest], sparsity.selection = #dummy_score

// ENTRY: #layout = #kvcache.layout<{{.*}}slotted = true,{{.*}}caps = [6, 6], prefill_cap = end, fields = [#kvcache.field<name = "dummy_max"{{.*}}policies = [#dummy_score, #dummy_newest]>
// ENTRY-LABEL: func.func @decode_b1
// ENTRY: kvcache.append
// ENTRY: sparsity.score {{.*}}policy = #dummy_score
// ENTRY: sparsity.select {{.*}}policy = #dummy_score{{.*}} -> (tensor<1x2x2xi32>, tensor<1x2xi32>)
// ENTRY: sparsity.attend
// ENTRY: kvcache.compress

// The field's update, the score and the eviction key are the method's own IR.
// LINALG-LABEL: func.func @decode_b1
// LINALG-SAME: plan.name = "dummy_max"
// LINALG: plan.kernel "append"
// LINALG: arith.maximumf
// LINALG: plan.kernel "score"
// LINALG: linalg.generic
// LINALG: ^bb0(%[[Q:.*]]: f32, %[[MAX:.*]]: f32, %[[SUM:.*]]: f32):
// LINALG-NEXT: %[[TERM:.*]] = arith.mulf %[[Q]], %[[MAX]] : f32
// LINALG-NEXT: arith.addf %[[SUM]], %[[TERM]] : f32
// LINALG: plan.kernel "compress"
// LINALG: arith.negf
// LINALG-NOT: test_policy
// LINALG-LABEL: func.func @logits
// KERNELS: plan.entry @decode_b1
// KERNELS: "dummy_max"
// NEAR: unknown method 'dummy_scor'; did you mean 'dummy_score'?; legal: 'page_topk', 'dummy_score', 'dense'
// UNKNOWN: unknown method 'dummy_score'; legal: 'page_topk', 'dense'

onnx.initializer @embed : tensor<320x64xf32> file "w.data" offset 0 length 81920
onnx.initializer @k : tensor<64x32xf32> file "w.data" offset 0 length 8192
onnx.initializer @head : tensor<64x320xf32> file "w.data" offset 0 length 81920

func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids"}, %positions: tensor<?x?xi64> {onnx.name = "position_ids"},
                %pk: tensor<?x2x?x16xf32> {onnx.name = "pk"}, %pv: tensor<?x2x?x16xf32> {onnx.name = "pv"})
    -> (tensor<?x?x320xf32> {onnx.name = "logits"}, tensor<?x2x?x16xf32> {onnx.name = "k"}, tensor<?x2x?x16xf32> {onnx.name = "v"}) {
  %none = onnx.NoValue
  %embed = onnx.weight @embed : tensor<320x64xf32>
  %wk = onnx.weight @k : tensor<64x32xf32>
  %whead = onnx.weight @head : tensor<64x320xf32>
  %x = onnx.Gather %embed, %ids : (tensor<320x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %k = onnx.MatMul %x, %wk : (tensor<?x?x64xf32>, tensor<64x32xf32>) -> tensor<?x?x32xf32>
  %y, %k1, %v1, %qk = onnx.Attention %x, %k, %k, %none, %pk, %pv, %none {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64}
      : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>, none, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
      -> (tensor<?x?x64xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>, none)
  %logits = onnx.MatMul %y, %whead : (tensor<?x?x64xf32>, tensor<64x320xf32>) -> tensor<?x?x320xf32>
  return %logits, %k1, %v1 : tensor<?x?x320xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32>
}
