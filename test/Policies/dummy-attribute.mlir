// RUN: sparse-test-opt %s --split-input-file --verify-diagnostics | sparse-test-opt --split-input-file | FileCheck %s

// The attribute comes before any sparsity op or policy file: its dialect joins the registry whoever is loaded first.
// CHECK: #dummy_score = #test_policy.dummy_score<{pages = 2 : i64}>
// CHECK: func.func private @f() attributes {test.policy = #dummy_score}
func.func private @f() attributes {test.policy = #test_policy.dummy_score<{pages = 2}>}

// -----

// expected-error @below {{'dummy_score' has no parameter 'page'; legal: 'pages'}}
func.func private @f() attributes {test.policy = #test_policy.dummy_score<{page = 2}>}
