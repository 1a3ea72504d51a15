// The end of a step: in place what the next one reads, a task for each row, a histogram on the stack for each digit.
// RUN: sparse-opt %s --sparse-fuse --sparse-set-strategy --sparse-convert-to-linalg -o %t.linalg
// RUN: FileCheck %s --check-prefix=LINALG < %t.linalg
// RUN: sparse-opt %t.linalg --sparse-cpu-kernels -o %t.kernels
// RUN: FileCheck %s < %t.kernels
// RUN: sparse-opt %t.kernels --sparse-cpu-llvm | FileCheck %s --check-prefix=LLVM

// LINALG: -> (tensor<2xi32> {plan.name = "tokens"}) attributes {plan.kind = "sample"
// LINALG: plan.kernel "sample"{{.*}}ties = array<i64: -1, 1, 2, 3, 8>
// LINALG: scf.forall ({{.*}}) in (2)
// Not a number: no token.
// LINALG: arith.cmpf uno
// LINALG: scf.if
// The exponential is a polynomial of integers; nothing calls a library or adds up floats.
// LINALG: arith.fptosi
// LINALG: arith.constant 1488514807 : i64
// LINALG-NOT: math.
// LINALG-NOT: arith.addf
// LINALG-NOT: arith.mulf {{.*}}fastmath

// CHECK: %[[IDS:.*]] = plan.input "ids"
// CHECK: %[[TOKENS:.*]] = plan.output "tokens"
// CHECK: plan.launch @sample_0 grid 2({{.*}}%[[IDS]]{{.*}}%[[TOKENS]])
// CHECK-LABEL: func.func @sample_0
// CHECK-NOT: memref.alloc(
// CHECK: memref.alloca() {{.*}} : memref<256xi64>
// CHECK-NOT: memref.alloc(
// CHECK: return

// LLVM: llvm.func @sample_0

func.func @sample_b2(%l: tensor<2x320xf32> {plan.name = "logits"}, %i: tensor<2xi32> {plan.name = "ids"}, %p: tensor<2xi32> {plan.name = "positions"}, %a: tensor<2xi32> {plan.name = "active"}, %t: tensor<2xf32> {plan.name = "temperature"}, %k: tensor<2xi32> {plan.name = "top_k"}, %q: tensor<2xf32> {plan.name = "top_p"}, %s: tensor<2xi64> {plan.name = "seeds"}, %c: tensor<2xi64> {plan.name = "counters"}, %e: tensor<2x8xi32> {plan.name = "stops"}) -> (tensor<2xi32> {plan.name = "tokens"}, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>) attributes {plan.kind = "sample", plan.rows = 2 : i64} {
  %0:5 = sparsity.sample %l, %i, %p, %a, %t, %k, %q, %s, %c, %e : (tensor<2x320xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2x8xi32>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>)
  return %0#0, %0#1, %0#2, %0#3, %0#4 : tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi64>
}
