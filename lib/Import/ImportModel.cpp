//===-- ImportModel.cpp - From a parsed model to a module ---------------------------------------------------------===//
#include "dialects/ONNX/ONNX.h"
#include "lib/Import/Importer.h"
#include "lib/Import/Types.h"

#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace sparse::import;

/// The newest versions whose changes were looked at. Newer ones are tried with a warning: most operators do not change.
static constexpr int64_t newestIr = 14, newestOpset = 28;
/// No release has come near these; such a number is garbage.
static constexpr int64_t absurdVersion = 1000;

Importer::Importer(const OnnxFile &file, const Source &source, const ImportOptions &options)
    : file(file), source(source), options(options), builder(source.context()),
      module(ModuleOp::create(source.whole())), weights(file, source, options, *module) {}

OwningOpRef<ModuleOp> Importer::run() {
  if (failed(importModel()) || failed(verify(*module)))
    return {};
  return std::move(module);
}

std::optional<int64_t> sparse::import::versionOf(const Opsets &opsets, StringRef domain) {
  auto found = opsets.find(canonicalDomain(domain));
  return found == opsets.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

LogicalResult Importer::importOpsets(const OpsetImports &imports, Opsets &opsets, Location loc) {
  for (const proto::OperatorSetIdProto &import : imports) {
    StringRef domain = canonicalDomain(import.domain());
    int64_t version = import.version();
    if (version < 1 || version > absurdVersion)
      return emitError(loc) << "imports opset " << version << " of domain '" << domain << "', which does not exist";
    if (domain.empty() && version > newestOpset)
      emitWarning(loc) << "imports opset " << version << "; this compiler knows operators up to opset " << newestOpset;
    if (!opsets.try_emplace(domain, version).second)
      return emitError(loc) << "imports domain '" << domain << "' twice";
  }
  return success();
}

LogicalResult Importer::importInputs(const proto::GraphProto &graph, Scope &scope) {
  SmallVector<Type> types;
  SmallVector<DictionaryAttr> attributes;
  SmallVector<const proto::ValueInfoProto *> inputs;
  llvm::StringSet<> names;
  for (const proto::ValueInfoProto &input : graph.input()) {
    Location loc = source.item("input '" + Twine(input.name()) + "'");
    if (input.name().empty())
      return emitError(loc) << "has no name";
    if (!names.insert(input.name()).second)
      return emitError(loc) << "is declared twice";
    // An input with an initializer is a constant that a caller could override; here nobody does.
    if (scope.initializers.contains(input.name()))
      continue;
    std::string why;
    TensorType type = tensorTypeOf(input.type(), options.limits, source.context(), why);
    if (!type)
      return emitError(loc) << why;
    types.push_back(type);
    attributes.push_back(builder.getDictionaryAttr(
        builder.getNamedAttr("onnx.name", builder.getStringAttr(input.name()))));
    inputs.push_back(&input);
  }
  builder.setInsertionPointToEnd(module->getBody());
  function = func::FuncOp::create(builder, source.whole(), "main", builder.getFunctionType(types, {}), {}, attributes);
  Block *body = function.addEntryBlock();
  for (auto [input, argument] : llvm::zip(inputs, body->getArguments())) {
    argument.setLoc(source.item(input->name()));
    scope.values[input->name()] = argument;
  }
  builder.setInsertionPointToEnd(body);
  weights.enter(function);
  return success();
}

LogicalResult Importer::importOutputs(const proto::GraphProto &graph, Scope &scope) {
  SmallVector<Value> results;
  SmallVector<DictionaryAttr> attributes;
  llvm::StringSet<> names;
  for (const proto::ValueInfoProto &output : graph.output()) {
    Location loc = source.item("output '" + Twine(output.name()) + "'");
    if (output.name().empty())
      return emitError(loc) << "has no name";
    if (!names.insert(output.name()).second)
      return emitError(loc) << "is declared twice";
    FailureOr<Value> value = lookup(scope, output.name(), loc);
    if (failed(value))
      return failure();
    if (!*value)
      return emitError(loc) << "is an absent input of a function";
    results.push_back(*value);
    attributes.push_back(builder.getDictionaryAttr(
        builder.getNamedAttr("onnx.name", builder.getStringAttr(output.name()))));
  }
  func::ReturnOp::create(builder, source.whole(), results);
  function.setFunctionType(builder.getFunctionType(function.getArgumentTypes(), TypeRange(ValueRange(results))));
  function.setAllResultAttrs(attributes);
  return success();
}

LogicalResult Importer::importModel() {
  const proto::ModelProto &model = file.model();
  Location whole = source.whole();
  // Almost any bytes are some protobuf message; these fields tell a model from noise.
  if (!model.has_ir_version() || !model.has_graph())
    return emitError(whole) << "is not an ONNX model: it has no " << (model.has_graph() ? "ir_version" : "graph");
  if (model.ir_version() < 3 || model.ir_version() > absurdVersion)
    return emitError(whole) << "has IR version " << model.ir_version() << "; versions from 3 on are supported";
  if (model.ir_version() > newestIr)
    emitWarning(whole) << "has IR version " << model.ir_version() << "; this compiler knows versions up to "
                       << newestIr;
  const proto::GraphProto &graph = model.graph();
  if (graph.sparse_initializer_size() > 0)
    return emitError(whole) << "has sparse initializers, which are not supported";
  if (graph.output_size() == 0)
    return emitError(whole) << "has a graph without outputs";

  Opsets opsets;
  if (failed(importOpsets(model.opset_import(), opsets, whole)) ||
      failed(functions.load(model, source, options.limits)))
    return failure();
  Scope scope;
  scope.opsets = &opsets;
  addDeclaredTypes(graph, scope);
  if (failed(addInitializers(graph, scope)) || failed(importInputs(graph, scope)) ||
      failed(importNodes(graph.node(), scope)))
    return failure();
  return importOutputs(graph, scope);
}

OwningOpRef<ModuleOp> sparse::import::importOnnx(StringRef path, const ImportOptions &options, MLIRContext *context) {
  context->loadDialect<func::FuncDialect, onnx::ONNXDialect>();
  Source source(context, path);
  OnnxFile file;
  if (failed(file.load(source, options.limits)))
    return {};
  return Importer(file, source, options).run();
}
