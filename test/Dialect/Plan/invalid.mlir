// RUN: sparse-opt %s --allow-unregistered-dialect --split-input-file --verify-diagnostics

func.func @f(%x: tensor<4xf32>) {
  // expected-error @below {{has block arguments that do not match its operands}}
  plan.kernel "k"(%x) : (tensor<4xf32>) -> () {
  ^bb0(%a: tensor<5xf32>):
    plan.yield
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error @below {{must end in a plan.yield of its result types}}
  %y = plan.kernel "k"(%x) : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    plan.yield
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error @below {{must end in a plan.yield of its result types}}
  plan.kernel "k"(%x) : (tensor<4xf32>) -> () {
  ^bb0(%a: tensor<4xf32>):
    "test.terminator"() : () -> ()
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error @below {{has 2 ties for 1 results}}
  %y = plan.kernel "k"(%x) {ties = array<i64: 0, 0>} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    plan.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error @below {{ties a result to operand 1 of 1}}
  %y = plan.kernel "k"(%x) {ties = array<i64: 1>} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    plan.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error @below {{ties a result to operand -2 of 1}}
  %y = plan.kernel "k"(%x) {ties = array<i64: -2>} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    plan.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>, %i: tensor<4xi32>) {
  // expected-error @below {{ties a result of type 'tensor<4xf32>' to an operand of another type}}
  %y = plan.kernel "k"(%x, %i) {ties = array<i64: 1>} : (tensor<4xf32>, tensor<4xi32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>, %b: tensor<4xi32>):
    plan.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-note @below {{required by region isolation constraints}}
  plan.kernel "k"() : () -> () {
    // expected-error @below {{using value defined outside the region}}
    "test.use"(%x) : (tensor<4xf32>) -> ()
    plan.yield
  }
  return
}

// -----

func.func @f() {
  // expected-error @below {{expects parent op 'plan.kernel'}}
  plan.yield
}

// -----

func.func @f() {
  // expected-error @below {{expects parent op 'plan.entry'}}
  %t = plan.arena at 0 : memref<4xf32>
  return
}

// -----

func.func @f(%x: memref<4xf32>) {
  // expected-error @below {{expects parent op 'plan.entry'}}
  plan.launch @k grid 1(%x) : memref<4xf32>
  return
}

// -----

plan.entry @e kind "decode" rows 1 arena 0 {
  // expected-error @below {{invalid kind of type specified: expected builtin.memref, but found 'tensor<4xf32>'}}
  %t = plan.arena at 0 : tensor<4xf32>
}

// -----

// expected-note @below {{see existing symbol definition here}}
plan.entry @e kind "decode" rows 1 arena 0 {
}
// expected-error @below {{redefinition of symbol named 'e'}}
plan.entry @e kind "decode" rows 1 arena 0 {
}
