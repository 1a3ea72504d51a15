//===-- Mark.cpp - Policies become attributes of their sites ------------------------------------------------------===//
#include "lib/Policy/CacheFacts.h"
#include "lib/Policy/Legality.h"
#include "passes/Passes.h"

#include "llvm/ADT/StringExtras.h"

namespace sparse {
#define GEN_PASS_DEF_MARKPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using sparse::sparsity::PolicyKind;

namespace {

class Mark : public sparse::impl::MarkPassBase<Mark> {
public:
  using MarkPassBase::MarkPassBase;

  void runOnOperation() override {
    if (failed(mark()))
      signalPassFailure();
  }

private:
  LogicalResult mark();
  std::optional<Rules> readRules();
};

} // namespace

/// The textual form of a pass splits lists at every comma, also those of `1,4-6:page_topk:page=16,budget=64`: what has
/// a `=` before any `:` goes on with the rule before it, and so does what follows a range without a method.
static SmallVector<std::string> joinArguments(ArrayRef<std::string> texts) {
  SmallVector<std::string> rules;
  for (StringRef text : texts) {
    bool isArgument = text.split(':').first.contains('=');
    bool followsRange = !rules.empty() && llvm::isDigit(rules.back().front()) && !StringRef(rules.back()).contains(':');
    if (!rules.empty() && !text.empty() && (isArgument || followsRange))
      rules.back() += ("," + text).str();
    else if (!text.empty())
      rules.push_back(text.str());
  }
  return rules;
}

/// The file's rules, then those of the command line: they are later, and win.
std::optional<Rules> Mark::readRules() {
  Rules rules;
  bool failed = false;
  if (!policyFile.empty()) {
    std::optional<Rules> file = readPolicyFile(policyFile, &getContext());
    if (file)
      rules = std::move(*file);
    failed |= !file;
  }
  auto readInline = [&](PolicyKind kind, ArrayRef<std::string> texts) {
    for (const std::string &text : joinArguments(texts)) {
      std::optional<Rule> rule = parseInlineRule(kind, text, &getContext());
      if (rule)
        rules.push_back(std::move(*rule));
      failed |= !rule;
    }
  };
  readInline(PolicyKind::Attention, *attention);
  readInline(PolicyKind::KV, *kv);
  if (failed)
    return std::nullopt;
  return rules;
}

/// What the IR holds already: marks of an earlier run, or written by hand.
static LayerPolicy readMarks(Operation *op) {
  LayerPolicy layer;
  if (auto selection = op->getAttrOfType<sparsity::PolicyAttrInterface>(sparsity::kSelectionAttr))
    layer.attention.push_back({selection, std::nullopt});
  if (auto kv = op->getAttrOfType<ArrayAttr>(sparsity::kKVAttr))
    for (Attribute policy : kv)
      layer.kv.push_back({cast<sparsity::PolicyAttrInterface>(policy), std::nullopt});
  return layer;
}

static void writeMarks(Operation *op, const LayerPolicy &layer) {
  op->removeAttr(sparsity::kSelectionAttr);
  op->removeAttr(sparsity::kKVAttr);
  if (!layer.attention.empty())
    op->setAttr(sparsity::kSelectionAttr, layer.attention.front().attr);
  SmallVector<Attribute> kv;
  for (const AskedPolicy &policy : layer.kv)
    kv.push_back(policy.attr);
  if (!kv.empty())
    op->setAttr(sparsity::kKVAttr, ArrayAttr::get(op->getContext(), kv));
}

static void remarkOn(Operation *op, int64_t index, const LayerPolicy &layer) {
  InFlightDiagnostic diag = op->emitRemark() << "layer " << index << ": ";
  SmallVector<AskedPolicy> policies = layer.all();
  if (policies.empty())
    diag << "dense";
  llvm::interleave(
      policies, [&](const AskedPolicy &policy) { diag << formatMethod(policy.attr); }, [&] { diag << "; "; });
}

LogicalResult Mark::mark() {
  std::optional<Rules> rules = readRules();
  if (!rules)
    return failure();
  ModuleOp module = getOperation();
  FailureOr<CacheFacts> model = factsOf(module, {maxContext, prefillChunk, page, kvType});
  if (failed(model))
    return failure();
  SmallVector<LayerPolicy> layers = llvm::map_to_vector(model->attentions, [](Operation *op) { return readMarks(op); });
  if (failed(applyRules(*rules, model->layers, layers)))
    return failure();

  // Layers that are governed alike fail alike: the first speaks for them.
  SmallVector<const LayerPolicy *> refused;
  for (auto [op, facts, layer] : llvm::zip(model->attentions, model->layers, layers)) {
    auto isAlike = [&layer = layer](const LayerPolicy *other) { return *other == layer; };
    if (llvm::none_of(refused, isAlike) && failed(checkLegality(op, facts, layer.all())))
      refused.push_back(&layer);
  }
  if (!refused.empty())
    return failure();

  for (auto [op, facts, layer] : llvm::zip(model->attentions, model->layers, layers)) {
    writeMarks(op, layer);
    if (report)
      remarkOn(op, facts.layer, layer);
  }
  module->setAttr(sparsity::kPolicyAttr, StringAttr::get(&getContext(), formatPolicy(layers)));
  return success();
}
