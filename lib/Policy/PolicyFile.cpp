//===-- PolicyFile.cpp - Policies as people write them ------------------------------------------------------------===//
#include "lib/Policy/PolicyFile.h"
#include "lib/Policy/ReadMethod.h"
#include "lib/Support/NearestName.h"

#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using sparse::sparsity::PolicyKind;

static constexpr std::pair<StringLiteral, PolicyKind> kKinds[] = {{"attention", PolicyKind::Attention},
                                                                  {"kv", PolicyKind::KV}};

StringRef sparse::policy::keyOf(PolicyKind kind) {
  for (auto [key, candidate] : kKinds)
    if (candidate == kind)
      return key;
  llvm_unreachable("a kind without a key");
}

namespace {

/// Turns trees into rules. Goes on after a mistake, to report the others too.
class Reader {
public:
  explicit Reader(MLIRContext *context) : methods(context) {}

  std::optional<Rules> readFile(const Node &root);
  std::optional<Rule> readRule(const Node &node);

private:
  InFlightDiagnostic error(const Node &node) {
    failed = true;
    return emitError(node.loc);
  }
  bool expectMap(const Node &node, StringRef what, StringRef legal);
  void readRules(const Node &node, Rules &rules);
  void unknownKey(const Node &key, StringRef where, ArrayRef<StringRef> legal);
  bool collectMethods(StringRef key, const Node &node, SmallVectorImpl<const Node::Entry *> &entries);
  std::optional<Choice> readChoice(PolicyKind kind, const Node::Entry &entry);
  void restrictToHeads(Rule &rule, const Node &heads);

  MethodReader methods;
  bool failed = false;
};

} // namespace

bool Reader::expectMap(const Node &node, StringRef what, StringRef legal) {
  if (node.kind == Node::Kind::Map)
    return true;
  error(node) << what << " is no mapping; legal: " << legal;
  return false;
}

void Reader::unknownKey(const Node &key, StringRef where, ArrayRef<StringRef> legal) {
  StringRef near = nearestName(key.text, legal);
  error(key) << "unknown key '" << key.text << "' in " << where
             << (near.empty() ? "" : "; did you mean '" + near.str() + "'?") << "; legal: " << quotedNames(legal);
}

/// `heads` of a rule is `heads` of each of its kv methods.
void Reader::restrictToHeads(Rule &rule, const Node &node) {
  std::optional<IndexRange> heads = IndexRange::read(node, "KV head");
  if (!heads) {
    failed = true;
    return;
  }
  bool any = false;
  for (Choice &choice : rule.choices) {
    if (choice.kind != PolicyKind::KV) {
      error(node) << "'heads' can't restrict '" << keyOf(choice.kind)
                  << "', which governs a whole layer; legal: a rule of its own for it";
      return;
    }
    for (Method &method : choice.methods) {
      any = true;
      if (!method.entry->spec->findHeads()) {
        error(node) << "'" << method.entry->spec->name << "' governs all heads of a layer; legal: no 'heads'";
        return;
      }
      if (method.heads) {
        error(node) << "'heads' stands beside the 'heads' of '" << method.entry->spec->name
                    << "'; legal: one of them";
        return;
      }
      method.heads = heads;
    }
  }
  if (!any)
    error(node) << "'heads' restricts nothing; legal: beside a 'kv' with a method";
}

/// The methods of a mapping, or of a list of mappings, in which one method may stand several times.
bool Reader::collectMethods(StringRef key, const Node &node, SmallVectorImpl<const Node::Entry *> &entries) {
  if (node.kind == Node::Kind::List)
    return llvm::all_of(node.items, [&](const Node &item) {
      return expectMap(item, ("an item of '" + key + "'").str(), "{method: {parameter: value}}") &&
             collectMethods(key, item, entries);
    });
  if (!expectMap(node, ("'" + key + "'").str(), "{method: {parameter: value}}, or a list of such"))
    return false;
  for (const Node::Entry &entry : node.entries)
    entries.push_back(&entry);
  return true;
}

std::optional<Choice> Reader::readChoice(PolicyKind kind, const Node::Entry &entry) {
  Choice choice{kind, {}};
  StringRef key = keyOf(kind);
  SmallVector<const Node::Entry *> entries;
  if (!collectMethods(key, entry.value, entries))
    return std::nullopt;
  if (entries.empty()) {
    error(entry.value) << "'" << key << "' names no method; legal: " << methods.legalNames(kind);
    return std::nullopt;
  }
  if (kind == PolicyKind::Attention && entries.size() > 1) {
    error(entries[1]->key) << "'" << key << "' takes one method, and '" << entries[0]->key.text << "' stands there";
    return std::nullopt;
  }
  for (const Node::Entry *given : entries) {
    std::optional<Method> method = methods.read(kind, *given);
    if (!method) {
      failed = true;
      return std::nullopt;
    }
    if (method->entry) {
      choice.methods.push_back(std::move(*method));
    } else if (entries.size() > 1) {
      error(given->key) << "'dense' turns '" << key << "' off; legal: alone";
      return std::nullopt;
    }
  }
  return choice;
}

std::optional<Rule> Reader::readRule(const Node &node) {
  if (!expectMap(node, "a rule", "{layers: 2-, attention: {...}, kv: {...}}"))
    return std::nullopt;
  Rule rule{IndexRange::all(node.loc), {}};
  const Node *heads = nullptr;
  SmallVector<StringRef> legal{"layers", "heads"};
  for (auto [key, kind] : kKinds)
    legal.push_back(key);
  for (const Node::Entry &entry : node.entries) {
    StringRef key = entry.key.text;
    const auto *kind = llvm::find_if(kKinds, [&](const auto &candidate) { return candidate.first == key; });
    if (key == "layers") {
      std::optional<IndexRange> layers = IndexRange::read(entry.value, "layer");
      failed |= !layers;
      if (layers)
        rule.layers = *layers;
    } else if (key == "heads") {
      heads = &entry.value;
    } else if (kind != std::end(kKinds)) {
      if (std::optional<Choice> choice = readChoice(kind->second, entry))
        rule.choices.push_back(std::move(*choice));
    } else {
      unknownKey(entry.key, "a rule", legal);
    }
  }
  if (heads && !failed)
    restrictToHeads(rule, *heads);
  if (rule.choices.empty() && !failed)
    error(node) << "the rule says nothing; legal: 'attention' or 'kv' beside 'layers'";
  if (failed)
    return std::nullopt;
  return rule;
}

void Reader::readRules(const Node &node, Rules &rules) {
  if (node.kind == Node::Kind::Null)
    return;
  if (node.kind != Node::Kind::List) {
    error(node) << "'rules' is no list; legal: '- {layers: 2-, attention: {...}}'";
    return;
  }
  bool anyFailed = failed;
  for (const Node &item : node.items) {
    failed = false;
    if (std::optional<Rule> rule = readRule(item))
      rules.push_back(std::move(*rule));
    anyFailed |= failed;
  }
  failed = anyFailed;
}

std::optional<Rules> Reader::readFile(const Node &root) {
  if (!expectMap(root, "the policy", "'version: 1' and 'rules:'"))
    return std::nullopt;
  Rules rules;
  const Node *version = nullptr;
  for (const Node::Entry &entry : root.entries) {
    if (entry.key.text == "version")
      version = &entry.value;
    else if (entry.key.text == "rules")
      readRules(entry.value, rules);
    else
      unknownKey(entry.key, "the policy", {"version", "rules"});
  }
  if (!version)
    error(root) << "the policy has no 'version'; legal: 'version: 1'";
  else if (version->kind != Node::Kind::Scalar || version->quoted || version->text != "1")
    error(*version) << "this version of the policy format is not known; legal: 1";
  if (failed)
    return std::nullopt;
  return rules;
}

std::optional<Rules> sparse::policy::parsePolicy(StringRef text, StringRef fileName, MLIRContext *context) {
  std::optional<Node> root = parseYaml(text, fileName, context);
  if (!root)
    return std::nullopt;
  return Reader(context).readFile(*root);
}

std::optional<Rules> sparse::policy::readPolicyFile(StringRef path, MLIRContext *context) {
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(path, /*IsText=*/true);
  if (!buffer) {
    emitError(FileLineColLoc::get(context, path, 0, 0))
        << "the policy file can't be read: " << buffer.getError().message();
    return std::nullopt;
  }
  return parsePolicy((*buffer)->getBuffer(), path, context);
}

std::optional<Rule> sparse::policy::parseInlineRule(PolicyKind kind, StringRef text, MLIRContext *context) {
  StringRef key = keyOf(kind);
  std::optional<Node> node = parseInline(text, key, ("--" + key).str(), context);
  if (!node)
    return std::nullopt;
  return Reader(context).readRule(*node);
}
