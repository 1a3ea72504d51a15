// RUN: sparse-opt %s --sparse-stateful --split-input-file --verify-diagnostics

// expected-error @below {{has no @main; run 'raise' first}}
module {
}

// -----

// expected-error @below {{has no onnx.Attention; nothing to keep a cache for}}
func.func @main(%ids: tensor<?x?xi64>, %positions: tensor<?x?xi64>) -> tensor<?x?xi64> {
  return %ids : tensor<?x?xi64>
}
