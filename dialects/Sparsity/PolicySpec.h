//===-- PolicySpec.h - What a method tells of itself -----------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_DIALECTS_SPARSITY_POLICYSPEC_H
#define SPARSE_DIALECTS_SPARSITY_POLICYSPEC_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/SmallVector.h"
#include <string>

namespace sparse::sparsity {

/// One parameter of a policy: the YAML key, the `list-policies` row and the default come from here.
struct ParameterSpec {
  /// A budget is an integer, tokens, that a policy file may also give as a share or in bytes.
  enum class Kind { Integer, Budget, Boolean, Choice, Heads, Number };
  llvm::StringRef name;
  Kind kind;
  llvm::StringRef summary;
  int64_t defaultInteger = 0;         // Integer, Budget, Boolean
  llvm::StringRef defaultChoice = {}; // Choice
  llvm::ArrayRef<llvm::StringRef> choices = {};
  int64_t minimum = 0;           // Integer, Budget, Number
  int64_t maximum = kMaxInteger; // Integer, Budget, Number
  double defaultNumber = 0;      // Number

  /// Sums of two counts of tokens are still an i32, the type of positions.
  static constexpr int64_t kMaxInteger = (int64_t(1) << 30) - 1;

  mlir::Attribute getDefault(mlir::MLIRContext *context) const;
  /// Why `value` is not one of this parameter's; empty when it is.
  std::string whyNot(mlir::Attribute value) const;
  std::string describe() const;
};

/// The key of the policy file under which a method stands.
enum class PolicyKind { Attention, KV };

/// The shortest decimal that reads back as `value`.
std::string formatNumber(double value);

struct PolicySpec {
  llvm::StringRef name;
  PolicyKind kind;
  llvm::StringRef summary;
  llvm::StringRef source; // paper
  llvm::SmallVector<ParameterSpec> parameters;

  const ParameterSpec *find(llvm::StringRef parameter) const;
  /// The parameter that names the KV heads a method governs; null when it governs all.
  const ParameterSpec *findHeads() const;
  /// `params` with defaults added; null after a diagnostic for an unknown key or an illegal value.
  mlir::DictionaryAttr complete(mlir::DictionaryAttr params,
                                llvm::function_ref<mlir::InFlightDiagnostic()> emitError) const;
};

/// What of a query's channel a score multiplies a field by: all of it, max(q, 0) or min(q, 0).
enum class QueryPart { Whole, Positive, Negative };

/// Which kept slots an evicted one goes into: the next ones by position, or the one with the most similar key.
enum class MergeTargets { Following, Nearest };

/// How an evicted slot changes its targets: whether it does (i1), its weight, and its part of their divisor (null where
/// nothing divides, for every slot alike).
struct MergeWeights {
  mlir::Value merges, weight, part;
};

/// How a policy's budgets follow the length of a sequence: in proportion up to `over` tokens, where they are reached, with
/// no less than `least` slots in all. `over` 0: they are constant.
struct BudgetGrowth {
  int64_t over = 0, least = 0;
};

/// What a policy may ask about the layer it is to govern.
struct LayerFacts {
  int64_t layer = 0, heads = 0, kvHeads = 0, keyDim = 0, valueDim = 0, maxContext = 0, prefillChunk = 0, page = 0;
  mlir::Type type; // element type of the cache
};

/// A method by name: its specification and how to make its attribute from complete parameters.
struct PolicyEntry {
  const PolicySpec *spec;
  mlir::Attribute (*build)(mlir::DictionaryAttr);
};

/// The methods known to a context. Each registers itself once, from its dialect's initializer.
class PolicyRegistry {
public:
  static PolicyRegistry &get(mlir::MLIRContext *context);
  template <typename Attr>
  void add() {
    entries.push_back({&Attr::getSpec(), [](mlir::DictionaryAttr params) -> mlir::Attribute {
                         return Attr::get(params.getContext(), params);
                       }});
  }
  llvm::ArrayRef<PolicyEntry> all() const { return entries; }
  const PolicyEntry *find(llvm::StringRef name) const;

private:
  llvm::SmallVector<PolicyEntry> entries;
};

inline int64_t intParam(mlir::DictionaryAttr params, llvm::StringRef name) {
  return params.getAs<mlir::IntegerAttr>(name).getInt();
}
inline bool boolParam(mlir::DictionaryAttr params, llvm::StringRef name) {
  return params.getAs<mlir::BoolAttr>(name).getValue();
}

} // namespace sparse::sparsity

#endif
