// RUN: sparse-opt %s --sparse-stack-buffers --split-input-file --verify-diagnostics

func.func @dynamic(%n: index) {
  // expected-error @below {{needs memory that outlives its block; kernels do not allocate}}
  %0 = memref.alloc(%n) : memref<?xf32>
  return
}

// -----

func.func @escapes(%n: index, %init: memref<4xf32>) -> memref<4xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%last = %init) -> memref<4xf32> {
    // expected-error @below {{needs memory that outlives its block; kernels do not allocate}}
    %1 = memref.alloc() : memref<4xf32>
    scf.yield %1 : memref<4xf32>
  }
  return %0 : memref<4xf32>
}
