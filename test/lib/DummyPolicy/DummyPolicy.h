//===-- DummyPolicy.h - Methods that only tests know ----------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_TEST_LIB_DUMMYPOLICY_DUMMYPOLICY_H
#define SPARSE_TEST_LIB_DUMMYPOLICY_DUMMYPOLICY_H

#include "dialects/Sparsity/Sparsity.h"

#include "test/lib/DummyPolicy/DummyPolicyDialect.h.inc"
#define GET_ATTRDEF_CLASSES
#include "test/lib/DummyPolicy/DummyPolicyAttrs.h.inc"

namespace sparse::test_policy {
/// Makes `dummy_score` and `dummy_newest` known to policy files and to the IR.
void registerDummyPolicies(mlir::DialectRegistry &registry);
} // namespace sparse::test_policy

#endif
