// Two methods in a dialect of their own: what a method needs, and nothing else.
#ifndef SPARSE_TEST_DUMMYPOLICY_TD
#define SPARSE_TEST_DUMMYPOLICY_TD

include "dialects/Sparsity/SparsityBase.td"
include "dialects/Sparsity/SparsityInterfaces.td"

def TestPolicy_Dialect : Dialect {
  let name = "test_policy";
  let cppNamespace = "::sparse::test_policy";
  let summary = "methods that only tests know";
  let dependentDialects = ["::sparse::sparsity::SparsityDialect"];
  let useDefaultAttributePrinterParser = 1;
}

def TestPolicy_DummyScoreAttr : PolicyAttr<TestPolicy_Dialect, "DummyScore", "dummy_score",
    [DeclareAttrInterfaceMethods<Sparsity_PolicyInterface, ["getFields", "buildFieldUpdate"]>,
     DeclareAttrInterfaceMethods<Sparsity_SelectionPolicyInterface>]> {
  let summary = "pages of greatest q * max";
  let description = [{`#test_policy.dummy_score<{pages = 4}>`}];
}

def TestPolicy_DummyNewestAttr : PolicyAttr<TestPolicy_Dialect, "DummyNewest", "dummy_newest",
    [Sparsity_PolicyInterface, DeclareAttrInterfaceMethods<Sparsity_KVPolicyInterface>]> {
  let summary = "the newest key but the current one leaves";
  let description = [{`#test_policy.dummy_newest<{cap = 8}>`}];
}

#endif
