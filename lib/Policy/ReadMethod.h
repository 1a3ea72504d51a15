//===-- ReadMethod.h - A method and its parameters from a policy's text ---------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_POLICY_READMETHOD_H
#define SPARSE_LIB_POLICY_READMETHOD_H

#include "lib/Policy/PolicyFile.h"

#include "mlir/IR/OperationSupport.h"

namespace sparse::policy {
/// Reads `method: {parameter: value}` by the specifications of the context's methods.
class MethodReader {
public:
  explicit MethodReader(mlir::MLIRContext *context)
      : context(context), registry(sparsity::PolicyRegistry::get(context)) {}

  /// Nothing after a diagnostic for each mistake.
  std::optional<Method> read(sparsity::PolicyKind kind, const Node::Entry &entry) const;
  /// The methods that may stand under the key of `kind`, for a diagnostic.
  std::string legalNames(sparsity::PolicyKind kind) const;

private:
  const sparsity::PolicyEntry *find(sparsity::PolicyKind kind, const Node &name) const;
  bool readParameter(Method &method, mlir::NamedAttrList &params, const Node::Entry &entry) const;

  mlir::MLIRContext *context;
  const sparsity::PolicyRegistry &registry;
};
} // namespace sparse::policy

#endif
