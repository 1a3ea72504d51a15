//===-- ImportGraph.cpp - Graphs, branches and function bodies ----------------------------------------------------===//
#include "dialects/ONNX/ONNX.h"
#include "lib/Import/GraphOrder.h"
#include "lib/Import/Importer.h"

using namespace mlir;
using namespace sparse::import;

/// Tensors of at most this size become constants in the function: shapes, axes, scalars, small tables.
static constexpr uint64_t inlineInitializerBytes = 1024;

std::string Importer::nameOf(const proto::NodeProto &node, unsigned index, const Scope &scope) const {
  std::string name = node.name().empty() ? node.op_type() + "_" + std::to_string(index) : node.name();
  return scope.prefix + name;
}

Location Importer::locationOf(const proto::NodeProto &node, unsigned index, const Scope &scope) const {
  return source.node(nameOf(node, index, scope), scope.index.value_or(index));
}

void Importer::addDeclaredTypes(const proto::GraphProto &graph, Scope &scope) {
  for (const proto::ValueInfoProto &info : graph.value_info())
    scope.declaredTypes.try_emplace(info.name(), &info.type());
  for (const proto::ValueInfoProto &output : graph.output())
    scope.declaredTypes.try_emplace(output.name(), &output.type());
}

LogicalResult Importer::addInitializers(const proto::GraphProto &graph, Scope &scope) {
  for (const proto::TensorProto &tensor : graph.initializer()) {
    Location loc = source.item("initializer '" + Twine(tensor.name()) + "'");
    if (tensor.name().empty())
      return emitError(loc) << "has no name";
    FailureOr<TensorInfo> info = weights.inspect(tensor, loc);
    if (failed(info))
      return failure();
    if (!scope.initializers.try_emplace(tensor.name(), Scope::Initializer{&tensor, *info}).second)
      return emitError(loc) << "is defined twice";
  }
  return success();
}

bool Importer::isVisible(const Scope &scope, StringRef name) const {
  for (const Scope *at = &scope; at; at = at->outer)
    if (at->values.contains(name) || at->initializers.contains(name))
      return true;
  return false;
}

FailureOr<Value> Importer::lookup(Scope &scope, StringRef name, Location loc) {
  for (Scope *at = &scope; at; at = at->outer) {
    if (auto found = at->values.find(name); found != at->values.end())
      return found->second;
    auto found = at->initializers.find(name);
    if (found == at->initializers.end())
      continue;
    auto [tensor, info] = found->second;
    FailureOr<Value> value = weights.materialize(*tensor, info, name, inlineInitializerBytes,
                                                 source.item("initializer '" + Twine(name) + "'"));
    if (succeeded(value))
      at->values[name] = *value;
    return value;
  }
  return emitError(loc) << "reads '" << name << "', which nothing produces";
}

LogicalResult Importer::importNodes(const Nodes &nodes, Scope &scope) {
  auto visible = [&](StringRef name) { return isVisible(scope, name); };
  auto taken = [&](StringRef name) { return scope.values.contains(name) || scope.initializers.contains(name); };
  auto location = [&](int index) { return locationOf(nodes[index], index, scope); };
  FailureOr<SmallVector<int>> order = orderNodes(nodes, {visible, taken, location});
  if (failed(order))
    return failure();
  for (int index : *order)
    if (failed(importNode(nodes[index], index, scope)))
      return failure();
  return success();
}

LogicalResult Importer::importCall(const proto::FunctionProto &callee, const proto::NodeProto &node, Location loc,
                                   unsigned index, Scope &scope) {
  if (node.input_size() > callee.input_size() || node.output_size() > callee.output_size())
    return emitError(loc) << "has " << node.input_size() << " inputs and " << node.output_size()
                          << " outputs but the function '" << callee.name() << "' has " << callee.input_size()
                          << " and " << callee.output_size();
  Opsets opsets;
  if (failed(importOpsets(callee.opset_import(), opsets, loc)))
    return failure();
  Bindings bindings;
  for (const proto::AttributeProto &attribute : callee.attribute_proto())
    bindings[attribute.name()] = &attribute;
  for (const proto::AttributeProto &attribute : node.attribute()) {
    FailureOr<const proto::AttributeProto *> value = resolve(attribute, loc, scope);
    if (failed(value))
      return failure();
    if (*value)
      bindings[attribute.name()] = *value;
  }
  Scope body;
  body.opsets = &opsets;
  body.bindings = &bindings;
  body.prefix = nameOf(node, index, scope) + "/";
  body.index = scope.index.value_or(index);
  for (int i = 0; i < callee.input_size(); ++i) {
    Value value;
    if (i < node.input_size() && !node.input(i).empty()) {
      FailureOr<Value> given = lookup(scope, node.input(i), loc);
      if (failed(given))
        return failure();
      value = *given;
    }
    if (!body.values.try_emplace(callee.input(i), value).second)
      return emitError(loc) << "calls function '" << callee.name() << "', which names two inputs '" << callee.input(i)
                            << "'";
  }
  if (failed(importNodes(callee.node(), body)))
    return failure();
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty())
      continue;
    FailureOr<Value> value = lookup(body, callee.output(i), loc);
    if (failed(value))
      return failure();
    define(scope, node.output(i), *value);
  }
  return success();
}

LogicalResult Importer::importBranch(const proto::GraphProto &graph, const proto::NodeProto &node, Location loc,
                                     unsigned index, Scope &scope) {
  Scope body;
  body.outer = &scope;
  body.opsets = scope.opsets;
  body.bindings = scope.bindings;
  body.prefix = nameOf(node, index, scope) + "/";
  body.index = scope.index.value_or(index);
  addDeclaredTypes(graph, body);
  if (failed(addInitializers(graph, body)) || failed(importNodes(graph.node(), body)))
    return failure();
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty())
      continue;
    FailureOr<Value> value = lookup(body, graph.output(i).name(), loc);
    if (failed(value))
      return failure();
    define(scope, node.output(i), *value);
  }
  return success();
}
