//===-- Functions.cpp - Model-local functions ---------------------------------------------------------------------===//
#include "lib/Import/Functions.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace sparse::import;

StringRef sparse::import::canonicalDomain(StringRef domain) { return domain == "ai.onnx" ? StringRef() : domain; }

// Names hold no NUL (the scan of the file checks it), so it separates the parts.
static std::string keyOf(StringRef domain, StringRef name, StringRef overload) {
  return (canonicalDomain(domain) + Twine('\0') + name + Twine('\0') + overload).str();
}

Location Functions::locationOf(const Entry &entry) const {
  return source->item("function '" + Twine(entry.function->domain()) + ":" + entry.function->name() + "'");
}

const proto::FunctionProto *Functions::lookup(const proto::NodeProto &node) const {
  if (entries.empty())
    return nullptr;
  auto found = entries.find(keyOf(node.domain(), node.op_type(), node.overload()));
  return found == entries.end() ? nullptr : found->second.function;
}

FailureOr<uint64_t> Functions::expand(const proto::NodeProto &node, unsigned depth) {
  uint64_t nodes = 1;
  auto graph = [&](const proto::GraphProto &subgraph) {
    for (const proto::NodeProto &inner : subgraph.node()) {
      FailureOr<uint64_t> count = expand(inner, depth);
      if (failed(count))
        return failure();
      nodes = llvm::SaturatingAdd(nodes, *count);
    }
    return success();
  };
  for (const proto::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g() && failed(graph(attribute.g())))
      return failure();
    for (const proto::GraphProto &subgraph : attribute.graphs())
      if (failed(graph(subgraph)))
        return failure();
  }
  auto callee = entries.find(keyOf(node.domain(), node.op_type(), node.overload()));
  if (callee == entries.end())
    return nodes;
  FailureOr<uint64_t> count = expand(callee->second, depth + 1);
  if (failed(count))
    return failure();
  return llvm::SaturatingAdd(nodes, *count);
}

FailureOr<uint64_t> Functions::expand(Entry &entry, unsigned depth) {
  if (entry.state == Entry::Done)
    return entry.nodes;
  if (entry.state == Entry::Open)
    return emitError(locationOf(entry)) << "calls itself; functions must not be recursive";
  if (depth > limits->functionDepth)
    return emitError(locationOf(entry)) << "functions call each other deeper than " << limits->functionDepth
                                        << " levels";
  entry.state = Entry::Open;
  for (const proto::NodeProto &node : entry.function->node()) {
    FailureOr<uint64_t> count = expand(node, depth);
    if (failed(count))
      return failure();
    entry.nodes = llvm::SaturatingAdd(entry.nodes, *count);
  }
  entry.state = Entry::Done;
  return entry.nodes;
}

LogicalResult Functions::load(const proto::ModelProto &model, const Source &where, const ImportLimits &bounds) {
  source = &where;
  limits = &bounds;
  if (model.functions_size() == 0)
    return success();
  for (const proto::FunctionProto &function : model.functions()) {
    Entry entry{&function};
    if (function.name().empty())
      return emitError(locationOf(entry)) << "has no name";
    if (!entries.try_emplace(keyOf(function.domain(), function.name(), function.overload()), entry).second)
      return emitError(locationOf(entry)) << "is defined twice";
  }
  // In file order, so that the diagnostic does not depend on a hash.
  for (const proto::FunctionProto &function : model.functions()) {
    Entry &entry = entries.find(keyOf(function.domain(), function.name(), function.overload()))->second;
    if (failed(expand(entry, 1)))
      return failure();
  }
  uint64_t total = 0;
  for (const proto::NodeProto &node : model.graph().node()) {
    FailureOr<uint64_t> count = expand(node, 0);
    if (failed(count))
      return failure();
    total = llvm::SaturatingAdd(total, *count);
  }
  if (total > limits->nodes)
    return emitError(source->whole()) << "has more than " << limits->nodes << " nodes after inlining its functions";
  return success();
}
