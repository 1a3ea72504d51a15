//===-- ApplySchedule.cpp - Strategies of kernels from a file -----------------------------------------------------===//
//
//     version: 1
//     kernels:                                    # later rules win
//       - {kernel: attend_part, strategy: simt}
//       - {entry: decode_b1, kernel: linear, strategy: vector, tiles: [1]}
//       - {kernel: select, strategy: mma, copies: bulk}
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "lib/Support/NearestName.h"
#include "lib/Support/YamlTree.h"
#include "passes/Passes.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MemoryBuffer.h"

namespace sparse {
#define GEN_PASS_DEF_APPLYSCHEDULEPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using Node = YamlNode;

namespace {
/// One rule: absent names stand for all.
struct Rule {
  Location loc;
  std::optional<StringRef> entry, kernel;
  std::optional<sparsity::Strategy> strategy;
  SmallVector<int64_t> tiles;
  sparsity::TileCopy copies = sparsity::TileCopy::Async;
};

class ApplySchedule : public sparse::impl::ApplySchedulePassBase<ApplySchedule> {
public:
  using ApplySchedulePassBase::ApplySchedulePassBase;

  void runOnOperation() override {
    if (file.empty())
      return;
    auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(file, /*IsText=*/true);
    if (!buffer) {
      emitError(FileLineColLoc::get(&getContext(), file, 0, 0))
          << "the schedule can't be read: " << buffer.getError().message();
      return signalPassFailure();
    }
    std::optional<Node> root = parseYaml((*buffer)->getBuffer(), file, &getContext());
    if (!root || !readRules(*root))
      return signalPassFailure();
    for (const Rule &rule : rules)
      if (!apply(rule))
        return signalPassFailure();
  }

private:
  bool error(const Node &node, const Twine &text) {
    emitError(node.loc) << text;
    return false;
  }
  bool readRules(const Node &root);
  bool readRule(const Node &node);
  bool readTiles(const Node &node, Rule &rule);
  bool readStrategy(const Node &node, Rule &rule);
  bool readCopies(const Node &node, Rule &rule);
  bool apply(const Rule &rule);

  SmallVector<Rule> rules;
};
} // namespace

bool ApplySchedule::readRules(const Node &root) {
  StringRef legal = "{version: 1, kernels: [{kernel: NAME, strategy: NAME}, ...]}";
  if (root.kind != Node::Kind::Map)
    return error(root, "a schedule is a mapping; legal: " + legal);
  const Node *version = nullptr, *kernels = nullptr;
  for (const Node::Entry &entry : root.entries) {
    if (entry.key.text == "version")
      version = &entry.value;
    else if (entry.key.text == "kernels")
      kernels = &entry.value;
    else
      return error(entry.key, "unknown key '" + entry.key.text + "' in a schedule; legal: 'version', 'kernels'");
  }
  if (!version || version->text != "1")
    return error(version ? *version : root, "a schedule says its version; legal: 'version: 1'");
  if (!kernels || kernels->kind != Node::Kind::List)
    return error(kernels ? *kernels : root, "'kernels' is a list of rules; legal: " + legal);
  return llvm::all_of(kernels->items, [&](const Node &node) { return readRule(node); });
}

bool ApplySchedule::readRule(const Node &node) {
  if (node.kind != Node::Kind::Map)
    return error(node, "a rule is a mapping; legal: {entry: NAME, kernel: NAME, strategy: NAME, tiles: [N, ...], copies: NAME}");
  Rule rule{node.loc, {}, {}, {}, {}};
  for (const Node::Entry &entry : node.entries) {
    StringRef key = entry.key.text;
    if (key == "entry") {
      rule.entry = entry.value.text;
    } else if (key == "kernel") {
      rule.kernel = entry.value.text;
    } else if (key == "tiles") {
      if (!readTiles(entry.value, rule))
        return false;
    } else if (key == "strategy") {
      if (!readStrategy(entry.value, rule))
        return false;
    } else if (key == "copies") {
      if (!readCopies(entry.value, rule))
        return false;
    } else {
      return error(entry.key, "unknown key '" + key + "' in a rule; legal: 'entry', 'kernel', 'strategy', 'tiles', 'copies'");
    }
  }
  if (!rule.strategy)
    return error(node, "a rule without a strategy; legal: {kernel: NAME, strategy: NAME}");
  // The tree goes away: names live in the context.
  for (std::optional<StringRef> *name : {&rule.entry, &rule.kernel})
    if (*name)
      *name = StringAttr::get(&getContext(), **name).getValue();
  rules.push_back(rule);
  return true;
}

bool ApplySchedule::readTiles(const Node &node, Rule &rule) {
  for (const Node &item : node.items) {
    int64_t tile = 0;
    if (StringRef(item.text).getAsInteger(10, tile) || tile <= 0)
      return error(item, "a tile is a positive integer");
    rule.tiles.push_back(tile);
  }
  return node.kind == Node::Kind::List || error(node, "'tiles' is a list of positive integers");
}

bool ApplySchedule::readStrategy(const Node &node, Rule &rule) {
  rule.strategy = sparsity::symbolizeStrategy(node.text);
  SmallVector<StringRef> names;
  for (uint32_t i = 0; i <= sparsity::getMaxEnumValForStrategy(); ++i)
    if (auto strategy = sparsity::symbolizeStrategy(i))
      names.push_back(sparsity::stringifyStrategy(*strategy));
  return rule.strategy || error(node, "unknown strategy '" + node.text + "'; legal: " + quotedNames(names));
}

bool ApplySchedule::readCopies(const Node &node, Rule &rule) {
  std::optional<sparsity::TileCopy> copies = sparsity::symbolizeTileCopy(node.text);
  SmallVector<StringRef> names;
  for (uint32_t i = 0; i <= sparsity::getMaxEnumValForTileCopy(); ++i)
    if (auto each = sparsity::symbolizeTileCopy(i))
      names.push_back(sparsity::stringifyTileCopy(*each));
  rule.copies = copies.value_or(sparsity::TileCopy::Async);
  return copies || error(node, "unknown copies '" + node.text + "'; legal: " + quotedNames(names));
}

bool ApplySchedule::apply(const Rule &rule) {
  Builder b(&getContext());
  bool applies = false;
  llvm::SetVector<StringRef> entries, kernels;
  getOperation().walk([&](plan::KernelOp kernel) {
    StringRef entry = kernel->getParentOfType<func::FuncOp>().getSymName();
    entries.insert(entry);
    if (rule.entry && *rule.entry != entry)
      return;
    kernels.insert(kernel.getName());
    if (rule.kernel && *rule.kernel != kernel.getName())
      return;
    applies = true;
    kernel->setAttr("lowering_config", sparsity::LoweringConfigAttr::get(&getContext(), *rule.strategy,
                                                                         b.getDenseI64ArrayAttr(rule.tiles), rule.copies));
  });
  if (!applies) {
    bool isEntry = rule.entry && !entries.contains(*rule.entry);
    emitError(rule.loc) << "the rule is for no kernel: there is no "
                        << (isEntry ? "entry '" + rule.entry->str() : "kernel '" + rule.kernel.value_or("").str())
                        << "'; legal: " << quotedNames((isEntry ? entries : kernels).getArrayRef());
  }
  return applies;
}
