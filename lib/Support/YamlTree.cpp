//===-- YamlTree.cpp - YAML text to a tree ------------------------------------------------------------------------===//
#include "lib/Support/YamlTree.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/YAMLParser.h"

using namespace mlir;
using Node = sparse::YamlNode;

namespace {

class TreeBuilder {
public:
  TreeBuilder(StringRef fileName, MLIRContext *context) : fileName(fileName), context(context) {
    // Without a handler the source manager prints to stderr.
    sources.setDiagHandler([](const llvm::SMDiagnostic &d, void *self) { static_cast<TreeBuilder *>(self)->report(d); },
                           this);
  }

  std::optional<Node> build(StringRef text);

private:
  std::optional<Node> convert(llvm::yaml::Node *node, Location fallback, unsigned depth);
  std::optional<Node> convertMap(llvm::yaml::MappingNode &map, Location loc, unsigned depth);
  Location locOf(const llvm::yaml::Node &node, Location fallback) const;
  void report(const llvm::SMDiagnostic &diagnostic);
  std::optional<Node> fail(Location loc, const Twine &message);

  StringRef fileName;
  MLIRContext *context;
  llvm::SourceMgr sources;
  bool failed = false;
};

} // namespace

/// Deeper than any file that we read; keeps hostile files from exhausting the stack.
static constexpr unsigned kMaxDepth = 16;

void TreeBuilder::report(const llvm::SMDiagnostic &diagnostic) {
  // After its first error the YAML parser's others are consequences.
  if (failed)
    return;
  fail(FileLineColLoc::get(context, fileName, std::max(0, diagnostic.getLineNo()), diagnostic.getColumnNo() + 1),
       "malformed YAML: " + diagnostic.getMessage());
}

std::optional<Node> TreeBuilder::fail(Location loc, const Twine &message) {
  if (!failed)
    emitError(loc) << message;
  failed = true;
  return std::nullopt;
}

Location TreeBuilder::locOf(const llvm::yaml::Node &node, Location fallback) const {
  llvm::SMLoc start = node.getSourceRange().Start;
  if (!start.isValid())
    return fallback;
  auto [line, column] = sources.getLineAndColumn(start);
  return FileLineColLoc::get(context, fileName, line, column);
}

std::optional<Node> TreeBuilder::convertMap(llvm::yaml::MappingNode &map, Location loc, unsigned depth) {
  Node node(loc, Node::Kind::Map);
  for (llvm::yaml::KeyValueNode &entry : map) {
    std::optional<Node> key = convert(entry.getKey(), loc, depth);
    if (!key)
      return std::nullopt;
    if (key->kind != Node::Kind::Scalar)
      return fail(key->loc, "a key is no name; legal: 'name: value'");
    for (const Node::Entry &earlier : node.entries)
      if (earlier.key.text == key->text)
        return fail(key->loc, "'" + key->text + "' stands twice in one mapping; legal: each key once");
    std::optional<Node> value = convert(entry.getValue(), key->loc, depth);
    if (!value)
      return std::nullopt;
    node.entries.push_back({std::move(*key), std::move(*value)});
  }
  return node;
}

std::optional<Node> TreeBuilder::convert(llvm::yaml::Node *yaml, Location fallback, unsigned depth) {
  if (!yaml) // the parser has failed, and has said so
    return fail(fallback, "malformed YAML");
  Location loc = locOf(*yaml, fallback);
  if (depth == kMaxDepth)
    return fail(loc, "values are nested too deeply; legal: " + Twine(kMaxDepth) + " levels");
  if (isa<llvm::yaml::AliasNode>(yaml) || !yaml->getAnchor().empty())
    return fail(loc, "anchors and aliases are not supported; write the value out");
  if (!yaml->getRawTag().empty())
    return fail(loc, "YAML tags are not supported; write the value without '" + yaml->getRawTag() + "'");

  if (auto *map = dyn_cast<llvm::yaml::MappingNode>(yaml))
    return convertMap(*map, loc, depth + 1);
  if (auto *list = dyn_cast<llvm::yaml::SequenceNode>(yaml)) {
    Node node(loc, Node::Kind::List);
    for (llvm::yaml::Node &item : *list) {
      std::optional<Node> converted = convert(&item, loc, depth + 1);
      if (!converted)
        return std::nullopt;
      node.items.push_back(std::move(*converted));
    }
    return node;
  }
  if (auto *scalar = dyn_cast<llvm::yaml::ScalarNode>(yaml)) {
    Node node(loc, Node::Kind::Scalar);
    SmallString<32> storage;
    node.text = scalar->getValue(storage).str();
    node.quoted = scalar->getRawValue().starts_with("'") || scalar->getRawValue().starts_with("\"");
    if (!node.quoted && (node.text.empty() || node.text == "~" || node.text == "null"))
      node.kind = Node::Kind::Null;
    return node;
  }
  if (auto *block = dyn_cast<llvm::yaml::BlockScalarNode>(yaml)) {
    Node node(loc, Node::Kind::Scalar);
    node.text = block->getValue().str();
    node.quoted = true;
    return node;
  }
  return Node(loc, Node::Kind::Null);
}

std::optional<Node> TreeBuilder::build(StringRef text) {
  llvm::yaml::Stream stream(text, sources, /*ShowColors=*/false);
  Location start = FileLineColLoc::get(context, fileName, 1, 1);
  llvm::yaml::document_iterator document = stream.begin();
  std::optional<Node> root = convert(document->getRoot(), start, 0);
  if (!root)
    return std::nullopt;
  if (!stream.failed() && ++document != stream.end())
    return fail(start, "holds more than one YAML document; legal: one");
  if (stream.failed())
    return fail(start, "malformed YAML");
  return root;
}

std::optional<Node> sparse::parseYaml(StringRef text, StringRef fileName, MLIRContext *context) {
  return TreeBuilder(fileName, context).build(text);
}
