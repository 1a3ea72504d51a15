//===-- PolicyFile.h - Policies as people write them ----------------------------------------------------*- C++ -*-===//
//
// A policy is a list of rules, from a YAML file or from the inline form of the command line:
//
//     version: 1
//     rules:                      # later rules win, per layer and key
//       - layers: 2-              # all (when absent) | 3 | 2- | 0-4 | 1,4-6
//         attention: {page_topk: {page: 16, budget: 2048}}
//         kv: {h2o: {heavy: 25%, recent: 1024}}     # of the longest context; also 64MiB, of one sequence in a layer
//       - layers: 5
//         heads: 0-1              # the KV heads that this rule's kv methods govern
//         kv: {streaming: {sinks: 4, window: 508}}
//       - layers: 6
//         kv: [{h2o: {heavy: 64, heads: 0}}, {h2o: {heavy: 256, heads: 1-}}]   # one method several times
//       - {layers: 7, attention: {dense: {}}}   # nothing after all
//
//     --attention 2-:page_topk:page=16,budget=2048 --kv h2o:heavy=512,recent=512
//
//===--------------------------------------------------------------------------------------------------------------===//
#ifndef SPARSE_LIB_POLICY_POLICYFILE_H
#define SPARSE_LIB_POLICY_POLICYFILE_H

#include "dialects/Sparsity/PolicySpec.h"
#include "lib/Policy/Budget.h"
#include "lib/Policy/IndexRange.h"

namespace sparse::policy {
/// The key of the policy file under which methods of a kind stand.
llvm::StringRef keyOf(sparsity::PolicyKind kind);

/// A parameter whose value only a layer can tell.
struct GivenBudget {
  const sparsity::ParameterSpec *parameter;
  Budget budget;
  std::string text;
  mlir::Location loc;
};

/// One method with the parameters that the text gives.
struct Method {
  const sparsity::PolicyEntry *entry; // null for `dense`
  mlir::DictionaryAttr params;        // without heads, and without those of `budgets`
  std::optional<IndexRange> heads;    // nothing, or an empty one: all of them
  mlir::Location loc;
  llvm::SmallVector<GivenBudget, 2> budgets = {};
};

/// The methods of one key of one rule.
struct Choice {
  sparsity::PolicyKind kind;
  llvm::SmallVector<Method, 1> methods; // none: dense
};

struct Rule {
  IndexRange layers;
  llvm::SmallVector<Choice, 2> choices;
};

using Rules = std::vector<Rule>;

/// The rules of a file's text, with methods of the context's registry. Nothing after one located diagnostic for each
/// mistake.
std::optional<Rules> parsePolicy(llvm::StringRef text, llvm::StringRef fileName, mlir::MLIRContext *context);
/// The same from a file.
std::optional<Rules> readPolicyFile(llvm::StringRef path, mlir::MLIRContext *context);
/// The rule of `--attention` or `--kv`.
std::optional<Rule> parseInlineRule(sparsity::PolicyKind kind, llvm::StringRef text, mlir::MLIRContext *context);
} // namespace sparse::policy

#endif
