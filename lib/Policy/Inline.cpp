//===-- Inline.cpp - The inline form of a rule to a tree ----------------------------------------------------------===//
#include "lib/Policy/Node.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace sparse::policy;

namespace {

class InlineParser {
public:
  InlineParser(StringRef text, StringRef option, MLIRContext *context) : text(text), option(option), context(context) {}

  std::optional<Node> parse(StringRef key);

private:
  Location locOf(StringRef part) const {
    return FileLineColLoc::get(context, option, 1, static_cast<unsigned>(part.data() - text.data()) + 1);
  }
  Node scalar(StringRef part) const {
    Node node(locOf(part), Node::Kind::Scalar);
    node.text = part.str();
    return node;
  }
  Node value(StringRef part) const;
  Node map(StringRef at, Node key, Node value) const {
    Node node(locOf(at), Node::Kind::Map);
    node.entries.push_back({std::move(key), std::move(value)});
    return node;
  }

  StringRef text, option;
  MLIRContext *context;
};

} // namespace

/// `[0,2]` is a list, everything else a scalar.
Node InlineParser::value(StringRef part) const {
  if (!part.starts_with("[") || !part.ends_with("]"))
    return scalar(part);
  Node list(locOf(part), Node::Kind::List);
  SmallVector<StringRef> items;
  part.drop_front().drop_back().split(items, ',', -1, /*KeepEmpty=*/false);
  for (StringRef item : items)
    list.items.push_back(scalar(item.trim()));
  return list;
}

/// Splits at the first comma that stands in no brackets.
static std::pair<StringRef, StringRef> splitArgument(StringRef arguments) {
  unsigned depth = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == '[')
      ++depth;
    else if (arguments[i] == ']' && depth != 0)
      --depth;
    else if (arguments[i] == ',' && depth == 0)
      return {arguments.take_front(i), arguments.drop_front(i + 1)};
  }
  return {arguments, arguments.drop_front(arguments.size())};
}

std::optional<Node> InlineParser::parse(StringRef key) {
  StringRef layers, rest = text;
  // A method's name starts with a letter, a range with a digit; 'all' is the one word that is a range.
  auto [first, tail] = text.split(':');
  if (!first.empty() && (llvm::isDigit(first.front()) || first == "all")) {
    layers = first;
    rest = text.drop_front(std::min(text.size(), first.size() + 1));
  }
  auto [method, arguments] = rest.split(':');
  if (method.empty()) {
    emitError(locOf(rest)) << "no method is named; legal: [layers:]method[:parameter=value,...]";
    return std::nullopt;
  }

  Node parameters(locOf(method), Node::Kind::Map);
  while (!arguments.empty()) {
    auto [argument, others] = splitArgument(arguments);
    auto [name, given] = argument.split('=');
    if (name.empty() || name.size() == argument.size()) {
      emitError(locOf(argument)) << "'" << argument << "' is no parameter; legal: parameter=value";
      return std::nullopt;
    }
    for (const Node::Entry &earlier : parameters.entries)
      if (earlier.key.text == name) {
        emitError(locOf(name)) << "'" << name << "' is given twice; legal: each parameter once";
        return std::nullopt;
      }
    parameters.entries.push_back({scalar(name), value(given)});
    arguments = others;
  }

  Node rule = map(rest, scalar(rest), map(method, scalar(method), std::move(parameters)));
  rule.entries.front().key.text = key.str();
  if (!layers.empty()) {
    Node layersKey = scalar(layers);
    layersKey.text = "layers";
    rule.entries.push_back({std::move(layersKey), scalar(layers)});
  }
  return rule;
}

std::optional<Node> sparse::policy::parseInline(StringRef text, StringRef key, StringRef option,
                                                MLIRContext *context) {
  return InlineParser(text, option, context).parse(key);
}
