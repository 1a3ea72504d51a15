//===-- Importer.h - The state of one import ------------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_IMPORT_IMPORTER_H
#define SPARSE_LIB_IMPORT_IMPORTER_H

#include "lib/Import/Functions.h"
#include "lib/Import/OpsetForms.h"
#include "lib/Import/Weights.h"

namespace sparse::import {
/// Opset version of each imported domain.
using Opsets = llvm::StringMap<int64_t>;
/// Attributes that a call gives to the function's `ref_attr_name`s.
using Bindings = llvm::StringMap<const proto::AttributeProto *>;

/// The names that the nodes of one graph or function body see.
struct Scope {
  struct Initializer {
    const proto::TensorProto *tensor;
    TensorInfo info;
  };

  Scope *outer = nullptr; ///< of a subgraph; functions see nothing but their inputs
  const Opsets *opsets = nullptr;
  const Bindings *bindings = nullptr; ///< null outside of functions
  /// A null value is an absent optional input of a function.
  llvm::StringMap<mlir::Value> values;
  llvm::StringMap<Initializer> initializers; ///< those that nothing has read yet
  llvm::StringMap<const proto::TypeProto *> declaredTypes;
  /// Nodes of functions and branches are named "call/node" and counted as the node of the main graph they come from.
  std::string prefix;
  std::optional<unsigned> index;
};

/// Turns a parsed model into a module. Every member that can fail has emitted its diagnostic.
class Importer {
public:
  Importer(const OnnxFile &file, const Source &source, const ImportOptions &options);
  mlir::OwningOpRef<mlir::ModuleOp> run();

private:
  using Nodes = google::protobuf::RepeatedPtrField<proto::NodeProto>;
  using OpsetImports = google::protobuf::RepeatedPtrField<proto::OperatorSetIdProto>;

  // ImportModel.cpp
  mlir::LogicalResult importModel();
  mlir::LogicalResult importOpsets(const OpsetImports &imports, Opsets &opsets, mlir::Location loc);
  mlir::LogicalResult importInputs(const proto::GraphProto &graph, Scope &scope);
  mlir::LogicalResult importOutputs(const proto::GraphProto &graph, Scope &scope);

  // ImportGraph.cpp
  mlir::LogicalResult addInitializers(const proto::GraphProto &graph, Scope &scope);
  void addDeclaredTypes(const proto::GraphProto &graph, Scope &scope);
  mlir::LogicalResult importNodes(const Nodes &nodes, Scope &scope);
  mlir::LogicalResult importCall(const proto::FunctionProto &function, const proto::NodeProto &node,
                                 mlir::Location loc, unsigned index, Scope &scope);
  mlir::LogicalResult importBranch(const proto::GraphProto &graph, const proto::NodeProto &node, mlir::Location loc,
                                   unsigned index, Scope &scope);
  bool isVisible(const Scope &scope, llvm::StringRef name) const;
  mlir::FailureOr<mlir::Value> lookup(Scope &scope, llvm::StringRef name, mlir::Location loc);
  mlir::Location locationOf(const proto::NodeProto &node, unsigned index, const Scope &scope) const;
  std::string nameOf(const proto::NodeProto &node, unsigned index, const Scope &scope) const;

  // ImportNode.cpp
  mlir::LogicalResult importNode(const proto::NodeProto &node, unsigned index, Scope &scope);
  mlir::LogicalResult importConstant(const proto::NodeProto &node, mlir::Location loc, Scope &scope, bool &done);
  mlir::LogicalResult importIf(const proto::NodeProto &node, mlir::Location loc, unsigned index, Scope &scope,
                               bool &done);
  mlir::LogicalResult importTyped(const proto::NodeProto &node, NodeForm form, int64_t version, mlir::Location loc,
                                  Scope &scope, bool &done);
  mlir::LogicalResult importOther(const proto::NodeProto &node, const NodeForm &form, mlir::Location loc, Scope &scope);
  mlir::LogicalResult convertAttributes(const proto::NodeProto &node, mlir::Location loc, const Scope &scope,
                                        mlir::NamedAttrList &attributes);
  /// The attribute that `attribute` stands for: itself, or what the call gives; null when the call gives nothing.
  mlir::FailureOr<const proto::AttributeProto *> resolve(const proto::AttributeProto &attribute, mlir::Location loc,
                                                         const Scope &scope);
  mlir::TensorType resultType(llvm::StringRef name, mlir::Type element, const Scope &scope);
  void define(Scope &scope, llvm::StringRef name, mlir::Value value);

  const OnnxFile &file;
  const Source &source;
  const ImportOptions &options;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp function;
  Weights weights;
  Functions functions;
};

/// The operator set that `domain` is imported with; nothing when it is not imported.
std::optional<int64_t> versionOf(const Opsets &opsets, llvm::StringRef domain);

/// A guess at the element type of result `index` of an operator without a typed op.
mlir::Type guessElementType(llvm::StringRef opType, unsigned index, mlir::TypeRange operands,
                            mlir::MLIRContext *context);
} // namespace sparse::import

#endif
