//===-- Stateful.cpp - Entries with cache state from the one graph ------------------------------------------------===//
#include "dialects/KVCache/ExpectTensor.h"
#include "lib/Policy/CacheFacts.h"
#include "passes/Passes.h"
#include "passes/Stateful/SolveLayout.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"

#include <cmath>

namespace sparse {
#define GEN_PASS_DEF_STATEFULPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

namespace {

/// Most tokens that end a row (docs/architecture.md §3).
constexpr int64_t kStopTokens = 8;

/// One attention of the model with its solved cache layout.
struct Layer {
  onnx::AttentionOp op;
  kvcache::LayerType type;
  sparsity::SelectionPolicyInterface selection;
  bool needsMass = false;

  SmallVector<sparsity::MergePolicyInterface> merging() const {
    SmallVector<sparsity::MergePolicyInterface> policies;
    for (Attribute policy : type.getLayout().getPolicies())
      if (auto merge = dyn_cast<sparsity::MergePolicyInterface>(policy))
        policies.push_back(merge);
    return policies;
  }
  SmallVector<sparsity::SharedBudgetPolicyInterface> sharing() const {
    SmallVector<sparsity::SharedBudgetPolicyInterface> policies;
    for (Attribute policy : type.getLayout().getPolicies())
      if (auto shared = dyn_cast<sparsity::SharedBudgetPolicyInterface>(policy); shared && shared.sharesBudget())
        policies.push_back(shared);
    return policies;
  }
  /// Its number in the source model, or `index` where no site says it, for a policy that draws by it; 0 for others, whose
  /// kernels are those of all layers.
  int64_t drawnLayer(sparsity::MergePolicyInterface policy, int64_t index) const {
    if (!policy.isRandom())
      return 0;
    auto site = op->getAttrOfType<sparsity::SiteAttr>(sparsity::kSiteAttr);
    return site ? site.getLayer() : index;
  }
};

/// A policy that shares its budget with those of the same method in other layers.
struct Sharing {
  size_t layer;
  sparsity::SharedBudgetPolicyInterface policy;
};

struct Model {
  func::FuncOp main;
  SmallVector<Layer> layers;
  Value logits;
  Value hidden;  // operand of the row-wise tail (final norm and head)
  SetVector<Operation *> tail; // ops of the tail, and the weights that only they read
  int64_t maxContext = 0;
};

/// The arguments that every entry over rows has, in order (docs/architecture.md §3).
struct Rows {
  Value ids, positions, sequences, active, status;
};

int64_t widthOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape().back(); }

/// Ops without an input: weights and constants.
bool isLeaf(Operation *op) { return isa<onnx::WeightOp, onnx::ConstantOp, onnx::NoValueOp>(op); }

/// The ops between `hidden` and the logits, and the leaves that nothing else reads.
SetVector<Operation *> findTail(Value logits, Value hidden) {
  SetVector<Operation *> tail;
  SmallVector<Value> work{logits};
  while (!work.empty()) {
    Value value = work.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (value == hidden || !op)
      continue;
    bool shared = isLeaf(op) && llvm::any_of(op->getUsers(), [&](Operation *user) { return !tail.contains(user); });
    if (!shared && tail.insert(op))
      llvm::append_range(work, op->getOperands());
  }
  return tail;
}

/// The value from which only row-wise ops lead to the logits: whatever has one activation operand belongs to the tail.
Value findHidden(Value logits) {
  Value value = logits;
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<onnx::ONNXDialect>(op->getDialect()) || isa<onnx::AttentionOp, onnx::RotaryEmbeddingOp, onnx::GatherOp>(op))
      break;
    SmallVector<Value> activations;
    for (Value operand : op->getOperands())
      if (operand.getDefiningOp() == nullptr ||
          !isa<onnx::WeightOp, onnx::ConstantOp, onnx::NoValueOp>(operand.getDefiningOp()))
        activations.push_back(operand);
    if (activations.size() != 1)
      break;
    value = activations.front();
  }
  return value;
}

/// Builds one entry from the model's ops.
class EntryBuilder {
public:
  EntryBuilder(Model &model, OpBuilder &builder) : model(model), b(builder) {}

  func::FuncOp buildRows(StringRef name, StringRef kind, int64_t rows, bool prefill);
  func::FuncOp buildLogits(int64_t rows);
  func::FuncOp buildSample(int64_t rows);
  /// What a maintain entry does.
  enum class Upkeep { Compact, CompactChunkLayers, Rebuild };
  func::FuncOp buildMaintain(StringRef name, Upkeep upkeep);
  func::FuncOp buildBudgets();

private:
  func::FuncOp beginMaintain(StringRef name);
  func::FuncOp begin(StringRef name, StringRef kind, int64_t rows, TypeRange inputs, ArrayRef<StringRef> names,
                     TypeRange results);
  Value clone(Operation *op);
  LogicalResult attention(Layer &layer, unsigned index, bool prefill);
  void compress(Layer &layer, unsigned index, ValueRange mass, UnitAttr prefill);
  RankedTensorType rowsType(int64_t width) { return RankedTensorType::get({rows, width}, b.getF32Type()); }
  RankedTensorType indexType(int64_t n) { return RankedTensorType::get({n}, b.getI32Type()); }

  Model &model;
  OpBuilder &b;
  IRMapping map;
  int64_t rows = 0;
  Rows in;
  SmallVector<Value> states;
};

} // namespace

func::FuncOp EntryBuilder::begin(StringRef name, StringRef kind, int64_t count, TypeRange inputs,
                                 ArrayRef<StringRef> names, TypeRange results) {
  rows = count;
  auto func = func::FuncOp::create(b, model.main.getLoc(), name, b.getFunctionType(inputs, results));
  func->setAttr("plan.kind", b.getStringAttr(kind));
  func->setAttr("plan.rows", b.getI64IntegerAttr(count));
  Block *entry = func.addEntryBlock();
  for (auto [index, argName] : llvm::enumerate(names))
    func.setArgAttr(index, "plan.name", b.getStringAttr(argName));
  b.setInsertionPointToStart(entry);
  return func;
}

/// A copy of a row-wise op: the same op on `[rows, width]`.
Value EntryBuilder::clone(Operation *op) {
  if (isLeaf(op)) {
    b.clone(*op, map);
    return {};
  }
  Operation *copy = b.clone(*op, map);
  for (OpResult result : copy->getResults())
    if (auto type = dyn_cast<RankedTensorType>(result.getType()))
      result.setType(RankedTensorType::get({rows, type.getShape().back()}, type.getElementType()));
  return {};
}

LogicalResult EntryBuilder::attention(Layer &layer, unsigned index, bool prefill) {
  onnx::AttentionOp op = layer.op;
  Location loc = op.getLoc();
  kvcache::LayoutAttr layout = layer.type.getLayout();
  int64_t heads = op.getQNumHeads();
  auto unit = prefill ? b.getUnitAttr() : UnitAttr();
  Value q = map.lookup(op.getQ());
  auto append =
      kvcache::AppendOp::create(b, loc, TypeRange{layer.type, in.status.getType()}, states[index],
                                map.lookup(op.getK()), map.lookup(op.getV()), in.positions, in.sequences, in.active,
                                in.status, unit);
  states[index] = append.getResult();
  in.status = append.getNewStatus();

  Value indices, count;
  if (layer.selection && !prefill) {
    int64_t selecting = layer.selection.isPerQueryHead() ? heads : layout.getKvHeads();
    int64_t budget = std::min(layer.selection.getPageBudget(), layout.getMaxPages());
    auto scoresType = RankedTensorType::get({rows, selecting, layout.getMaxPages()}, b.getF32Type());
    Value scores =
        sparsity::ScoreOp::create(b, loc, scoresType, q, states[index], in.sequences, layer.selection);
    auto select = sparsity::SelectOp::create(
        b, loc,
        TypeRange{RankedTensorType::get({rows, selecting, budget}, b.getI32Type()),
                  RankedTensorType::get({rows, selecting}, b.getI32Type())},
        scores, states[index], in.sequences, layer.selection);
    indices = select.getIndices();
    count = select.getCount();
  }

  double scale = op.getScale() ? op.getScale()->convertToDouble() : 1.0 / std::sqrt(double(layout.getKeyDim()));
  auto scaleAttr = b.getF32FloatAttr(scale);
  auto softcap = b.getF32FloatAttr(op.getSoftcap().convertToDouble());
  auto window = b.getI64IntegerAttr(op.getLeftWindowSize());
  auto attend = sparsity::AttendOp::create(b, loc,
                                           TypeRange{rowsType(heads * layout.getValueDim()), rowsType(heads)}, q,
                                           states[index], in.positions, in.sequences, indices, count, scaleAttr,
                                           softcap, window, unit);
  map.map(op.getY(), attend.getOut());

  SmallVector<Value> mass;
  if (layer.needsMass) {
    auto massType = RankedTensorType::get({prefill ? 1 : rows, layout.getKvHeads(), layout.getMaxSlots()},
                                          b.getF32Type());
    mass.push_back(sparsity::MassOp::create(b, loc, massType, q, attend.getLse(), states[index], in.positions,
                                            in.sequences, in.active, indices, count, scaleAttr, softcap, window, unit));
  }
  if (!mass.empty() || (layout.isCapped() && !prefill))
    compress(layer, index, mass, unit);
  return success();
}

/// Statistics and eviction, then what becomes of the evicted slots.
void EntryBuilder::compress(Layer &layer, unsigned index, ValueRange mass, UnitAttr prefill) {
  Location loc = layer.op.getLoc();
  kvcache::LayoutAttr layout = layer.type.getLayout();
  SmallVector<Type> types{layer.type};
  auto evictedType = RankedTensorType::get({rows, layout.getKvHeads()}, b.getI32Type());
  bool merges = !prefill && !layer.merging().empty();
  if (merges)
    types.push_back(evictedType);
  auto compress = kvcache::CompressOp::create(b, loc, types, states[index], mass, in.positions, in.sequences, in.active,
                                              prefill);
  states[index] = compress.getResult();
  if (!merges)
    return;
  for (sparsity::MergePolicyInterface policy : layer.merging()) {
    auto targets = RankedTensorType::get({rows, layout.getKvHeads(), policy.getTargetCount()}, b.getI32Type());
    auto share = RankedTensorType::get({rows, layout.getKvHeads()}, b.getF32Type());
    auto match =
        sparsity::MatchOp::create(b, loc, TypeRange{targets, share}, states[index], compress.getEvicted().front(),
                                  in.sequences, /*nearest=*/ValueRange(), policy,
                                  b.getI64IntegerAttr(layer.drawnLayer(policy, index)));
    states[index] = sparsity::MergeOp::create(b, loc, layer.type, states[index], match.getTargets(), match.getShare(),
                                              in.sequences, policy);
  }
}

func::FuncOp EntryBuilder::buildRows(StringRef name, StringRef kind, int64_t count, bool prefill) {
  SmallVector<Type> inputs{indexType(count), indexType(count), indexType(count), indexType(count), indexType(1)};
  SmallVector<Type> results;
  Value output = prefill ? model.hidden : model.logits;
  results.push_back(RankedTensorType::get({count, widthOf(output)}, b.getF32Type()));
  for (Layer &layer : model.layers) {
    inputs.push_back(layer.type);
    results.push_back(layer.type);
  }
  results.push_back(indexType(1));
  auto func = begin(name, kind, count, inputs, {"ids", "positions", "sequences", "active", "status"}, results);
  func.setResultAttr(0, "plan.name", b.getStringAttr(prefill ? "hidden" : "logits"));
  in = {func.getArgument(0), func.getArgument(1), func.getArgument(2), func.getArgument(3), func.getArgument(4)};
  states.assign(func.getArguments().begin() + 5, func.getArguments().end());
  map.map(model.main.getArgument(0), in.ids);
  map.map(model.main.getArgument(1), in.positions);

  unsigned layer = 0;
  for (Operation &op : model.main.front().without_terminator()) {
    if (prefill && model.tail.contains(&op))
      continue; // the logits entry computes it, for the rows that need it
    if (isa<onnx::AttentionOp>(op)) {
      if (failed(attention(model.layers[layer], layer, prefill)))
        return {};
      ++layer;
    } else {
      clone(&op);
    }
  }
  SmallVector<Value> values{map.lookup(output)};
  llvm::append_range(values, states);
  values.push_back(in.status);
  func::ReturnOp::create(b, func.getLoc(), values);
  return func;
}

func::FuncOp EntryBuilder::buildLogits(int64_t count) {
  rows = count;
  auto func = begin("logits", "logits", count, TypeRange{rowsType(widthOf(model.hidden))}, {"hidden"},
                    TypeRange{rowsType(widthOf(model.logits))});
  func.setResultAttr(0, "plan.name", b.getStringAttr("logits"));
  map.map(model.hidden, func.getArgument(0));
  auto feedsTail = [&](Operation &op) {
    return isLeaf(&op) && llvm::any_of(op.getUsers(), [&](Operation *user) { return model.tail.contains(user); });
  };
  for (Operation &op : model.main.front().without_terminator())
    if (model.tail.contains(&op) || feedsTail(op))
      clone(&op);
  func::ReturnOp::create(b, func.getLoc(), map.lookup(model.logits));
  return func;
}

/// The end of a step that goes on by itself: its token, and the inputs of the next step in the place of its own.
func::FuncOp EntryBuilder::buildSample(int64_t count) {
  RankedTensorType numbers = indexType(count), longs = RankedTensorType::get({count}, b.getI64Type());
  auto reals = RankedTensorType::get({count}, b.getF32Type());
  auto stops = RankedTensorType::get({count, kStopTokens}, b.getI32Type());
  rows = count;
  SmallVector<Type> inputs{rowsType(widthOf(model.logits)), numbers, numbers, numbers, reals, numbers, reals, longs,
                           longs, stops};
  SmallVector<Type> results{numbers, numbers, numbers, numbers, longs};
  auto func = begin(("sample_b" + Twine(count)).str(), "sample", count, inputs,
                    {"logits", "ids", "positions", "active", "temperature", "top_k", "top_p", "seeds", "counters", "stops"},
                    results);
  func.setResultAttr(0, "plan.name", b.getStringAttr("tokens"));
  auto sample = sparsity::SampleOp::create(b, model.logits.getLoc(), results, func.getArguments());
  func::ReturnOp::create(b, func.getLoc(), sample.getResults());
  return func;
}

/// An entry from the states of all layers to their next ones, for one sequence.
func::FuncOp EntryBuilder::beginMaintain(StringRef name) {
  SmallVector<Type> inputs{indexType(1)}, results;
  for (Layer &layer : model.layers) {
    inputs.push_back(layer.type);
    results.push_back(layer.type);
  }
  auto func = begin(name, name, 1, inputs, {"sequences"}, results);
  in.sequences = func.getArgument(0);
  states.assign(func.getArguments().begin() + 1, func.getArguments().end());
  return func;
}

/// The layers that a method governs share a budget: what each of them keeps of this prompt.
func::FuncOp EntryBuilder::buildBudgets() {
  auto func = beginMaintain("maintain_budgets");
  llvm::MapVector<StringRef, SmallVector<Sharing>> methods;
  for (auto [index, layer] : llvm::enumerate(model.layers))
    for (sparsity::SharedBudgetPolicyInterface policy : layer.sharing())
      methods[cast<sparsity::PolicyAttrInterface>(Attribute(policy)).getPolicySpec().name].push_back({index, policy});
  for (auto &[name, members] : methods) {
    SmallVector<Value> variances;
    for (auto [index, policy] : members) {
      Layer &layer = model.layers[index];
      auto type = RankedTensorType::get({layer.type.getLayout().getKvHeads()}, b.getF32Type());
      variances.push_back(
          sparsity::SpreadOp::create(b, layer.op.getLoc(), type, states[index], in.sequences, policy));
    }
    SmallVector<Type> types(members.size(), RankedTensorType::get({1}, b.getF32Type()));
    auto share = sparsity::ShareBudgetOp::create(b, func.getLoc(), types, variances, members.front().policy);
    for (auto [member, own] : llvm::zip(members, share.getShares()))
      states[member.layer] =
          sparsity::SetBudgetOp::create(b, model.layers[member.layer].op.getLoc(), model.layers[member.layer].type,
                                        states[member.layer], in.sequences, own, member.policy);
  }
  func::ReturnOp::create(b, func.getLoc(), states);
  return func;
}

func::FuncOp EntryBuilder::buildMaintain(StringRef name, Upkeep upkeep) {
  auto func = beginMaintain(name);
  Value sequences = in.sequences;
  for (auto [index, layer, state] : llvm::enumerate(model.layers, states)) {
    kvcache::LayoutAttr layout = layer.type.getLayout();
    Location loc = layer.op.getLoc();
    bool content = llvm::any_of(layout.getFields().getAsRange<kvcache::FieldAttr>(),
                                [](kvcache::FieldAttr field) { return field.getContent(); });
    if (upkeep == Upkeep::Rebuild) {
      if (content)
        state = kvcache::RebuildOp::create(b, loc, layer.type, state, sequences);
      continue;
    }
    if (!layout.isCapped() ||
        (upkeep == Upkeep::CompactChunkLayers && layout.getPrefillCap() != kvcache::PrefillCap::Chunk))
      continue;
    int64_t heads = layout.getKvHeads(), cap = layout.getWidestCap();
    auto slotsType = [&](ArrayRef<int64_t> shape, Type type) {
      SmallVector<int64_t> all{heads, cap};
      llvm::append_range(all, shape);
      return RankedTensorType::get(all, type);
    };
    auto choose = kvcache::ChooseOp::create(
        b, loc,
        TypeRange{slotsType({}, b.getI32Type()), indexType(heads),
                  RankedTensorType::get({heads, layout.getMaxSlots()}, b.getI32Type())},
        state, sequences);
    // What merges is counted in f32; codes move as they are.
    SmallVector<RankedTensorType> copies =
        kvcache::copyTypes(layout, layer.merging().empty() ? layout.getElementType() : kvcache::mergedType(layout));
    auto gather =
        kvcache::GatherOp::create(b, loc, SmallVector<Type>(copies.begin(), copies.end()), state, sequences, choose.getOrder(), choose.getKept());
    SmallVector<Value> slots(gather.getSlots());
    for (sparsity::MergePolicyInterface policy : layer.merging()) {
      auto each = [&](Type type) { return RankedTensorType::get({heads, layout.getMaxSlots()}, type); };
      auto match = sparsity::MatchChosenOp::create(b, loc, TypeRange{each(b.getI32Type()), each(b.getF32Type())}, state,
                                                   sequences, choose.getKept(), slots, policy,
                                                   b.getI64IntegerAttr(layer.drawnLayer(policy, index)));
      if (!policy.getThresholdField().empty() || !policy.getCounterField().empty())
        state = sparsity::SettleOp::create(b, loc, layer.type, state, sequences, choose.getKept(), match.getTarget(),
                                           match.getShare(), policy);
      SmallVector<Type> types{slotsType({}, b.getF32Type()), copies[1]};
      if (policy.mergesKeys())
        types.push_back(copies[0]);
      auto merge = sparsity::MergeChosenOp::create(b, loc, types, state, sequences, choose.getKept(), match.getTarget(),
                                                   match.getShare(), slots[0], slots[1], policy);
      slots[1] = merge.getMerged()[0];
      if (policy.mergesKeys())
        slots[0] = merge.getMerged()[1];
    }
    state = kvcache::PlaceOp::create(b, loc, layer.type, state, sequences, choose.getKept(), slots);
  }
  func::ReturnOp::create(b, func.getLoc(), states);
  return func;
}

namespace {

class Stateful : public sparse::impl::StatefulPassBase<Stateful> {
public:
  using StatefulPassBase::StatefulPassBase;

  void runOnOperation() override {
    Model model;
    if (failed(analyse(model)))
      return signalPassFailure();
    OpBuilder b(getOperation().getBodyRegion());
    b.setInsertionPointAfter(model.main);
    SmallVector<int64_t> sizes(buckets.begin(), buckets.end());
    if (sizes.empty())
      sizes = {1, 2, 4, 8};

    auto build = [&](auto fn) {
      OpBuilder::InsertionGuard guard(b);
      EntryBuilder entry(model, b);
      return fn(entry);
    };
    bool ok = build([&](EntryBuilder &e) { return bool(e.buildRows("prefill", "prefill", prefillChunk, true)); });
    for (int64_t size : sizes)
      ok &= build([&](EntryBuilder &e) {
        return bool(e.buildRows(("decode_b" + Twine(size)).str(), "decode", size, false));
      });
    for (int64_t size : sizes)
      ok &= build([&](EntryBuilder &e) { return bool(e.buildSample(size)); });
    ok &= build([&](EntryBuilder &e) { return bool(e.buildLogits(logitsRows)); });
    using Upkeep = EntryBuilder::Upkeep;
    if (llvm::any_of(model.layers, [](const Layer &layer) { return !layer.sharing().empty(); }))
      ok &= build([&](EntryBuilder &e) { return bool(e.buildBudgets()); });
    ok &= build([&](EntryBuilder &e) { return bool(e.buildMaintain("maintain_compact", Upkeep::Compact)); });
    if (compactsInBothWays(model))
      ok &= build([&](EntryBuilder &e) {
        return bool(e.buildMaintain("maintain_compact_chunk", Upkeep::CompactChunkLayers));
      });
    ok &= build([&](EntryBuilder &e) { return bool(e.buildMaintain("maintain_rebuild", Upkeep::Rebuild)); });
    if (!ok)
      return signalPassFailure();
    recordFacts(model, b);
    model.main.erase();
  }

private:
  /// Some layers are compacted after each chunk of a prompt and others only after its end.
  static bool compactsInBothWays(const Model &model) {
    auto any = [&](kvcache::PrefillCap when) {
      return llvm::any_of(model.layers, [&](const Layer &layer) {
        return layer.type.getLayout().isCapped() && layer.type.getLayout().getPrefillCap() == when;
      });
    };
    return any(kvcache::PrefillCap::Chunk) && any(kvcache::PrefillCap::End);
  }
  LogicalResult analyse(Model &model);
  void recordFacts(Model &model, Builder &b);
};

} // namespace

LogicalResult Stateful::analyse(Model &model) {
  FailureOr<policy::CacheFacts> known = policy::factsOf(getOperation(), {maxContext, prefillChunk, page, kvType});
  if (failed(known))
    return failure();
  model.main = known->main;
  model.maxContext = known->maxContext;
  auto ret = cast<func::ReturnOp>(model.main.front().getTerminator());
  if (model.main.getNumArguments() < 2 || ret.getNumOperands() == 0)
    return model.main.emitError("is not in canonical form: it takes ids and positions and returns logits");
  model.logits = ret.getOperand(0);
  model.hidden = findHidden(model.logits);
  model.tail = findTail(model.logits, model.hidden);

  model.main.walk([&](onnx::RotaryEmbeddingOp rope) {
    int64_t table = cast<RankedTensorType>(rope.getCosCache().getType()).getDimSize(0);
    if (table < model.maxContext)
      rope.emitWarning() << "has a table of " << table << " positions, fewer than the context of " << model.maxContext;
  });
  for (auto [op, facts] : llvm::zip(known->attentions, known->layers)) {
    Layer layer;
    layer.op = op;
    layer.selection = op->getAttrOfType<sparsity::SelectionPolicyInterface>(sparsity::kSelectionAttr);
    auto kv = op->getAttrOfType<ArrayAttr>(sparsity::kKVAttr);
    kvcache::LayoutAttr layout = solveLayout(op, facts, layer.selection, kv);
    if (!layout)
      return failure();
    layer.type = kvcache::LayerType::get(&getContext(), layout);
    if (kv)
      for (Attribute policy : kv)
        layer.needsMass |= cast<sparsity::PolicyAttrInterface>(policy).needsMass();
    model.layers.push_back(layer);
  }
  return success();
}

/// Facts of the model that the artifact's manifest carries.
void Stateful::recordFacts(Model &model, Builder &b) {
  onnx::AttentionOp first = model.layers.front().op;
  kvcache::LayoutAttr layout = model.layers.front().type.getLayout();
  NamedAttrList facts;
  auto set = [&](StringRef name, int64_t value) { facts.set(name, b.getI64IntegerAttr(value)); };
  set("layers", model.layers.size());
  set("hidden", widthOf(model.hidden));
  set("vocab", widthOf(model.logits));
  set("heads", first.getQNumHeads());
  set("kv_heads", first.getKvNumHeads());
  set("head_dim", layout.getKeyDim());
  set("max_context", model.maxContext);
  set("prefill_chunk", prefillChunk);
  facts.set("kv_dtype", b.getStringAttr(kvType));
  getOperation()->setAttr("sparsity.model", facts.getDictionary(&getContext()));
  SmallVector<Attribute> layouts;
  for (Layer &layer : model.layers)
    layouts.push_back(layer.type.getLayout());
  getOperation()->setAttr("sparsity.layouts", b.getArrayAttr(layouts));
}
