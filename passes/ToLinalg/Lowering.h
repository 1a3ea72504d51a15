//===-- Lowering.h - Lowering of one op inside a kernel --------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_TOLINALG_LOWERING_H
#define SPARSE_PASSES_TOLINALG_LOWERING_H

#include "passes/ToLinalg/Loops.h"

namespace sparse::lowering {

/// Scores below are of slots that a row may not see (`sparsity.attend_part`).
inline constexpr double kHiddenBelow = -5e29;

/// A layer of the cache as tensors: the components of its layout, in order. Updates replace components.
class LayerState {
public:
  LayerState() = default;
  LayerState(kvcache::LayoutAttr layout, ValueRange values)
      : layout(layout), components(layout.getComponents()), values(values.begin(), values.end()) {}

  kvcache::LayoutAttr layout;
  SmallVector<kvcache::LayoutAttr::Component> components;
  SmallVector<Value> values;

  Value &operator[](StringRef name) {
    for (auto [component, value] : llvm::zip(components, values))
      if (component.name == name)
        return value;
    llvm_unreachable("no such component in this layout");
  }
};

/// What one kernel's lowering knows: the tensors for every value of the old body, and which results are in place.
struct KernelContext {
  DenseMap<Value, SmallVector<Value>> values; // one tensor, or the components of a layer
  DenseMap<Value, Value> tie;                 // old value (not a layer) -> the block argument it updates in place
  ArrayRef<int64_t> tiles;                    // of the kernel's lowering_config; may be empty

  Value operator[](Value old) const { return values.lookup(old).front(); }
  LayerState layer(Value old) const {
    return LayerState(cast<kvcache::LayerType>(old.getType()).getLayout(), values.lookup(old));
  }
  void set(Value old, Value value) { values[old] = {value}; }
  void set(Value old, LayerState &state) { values[old] = state.values; }
};

// Kernels without cache: Dense.cpp.
void lowerEmbed(Emitter &e, KernelContext &k, sparsity::EmbedOp op);
void lowerNorm(Emitter &e, KernelContext &k, onnx::RMSNormalizationOp op);
void lowerRope(Emitter &e, KernelContext &k, onnx::RotaryEmbeddingOp op);
/// A linear layer and the elementwise ops after it, or elementwise ops alone (`linear` null).
LogicalResult lowerLinear(Emitter &e, KernelContext &k, sparsity::LinearOp linear, ArrayRef<Operation *> epilogue);
void lowerSample(Emitter &e, KernelContext &k, sparsity::SampleOp op); // Sample.cpp

// Kernels that read the cache: Attend.cpp, Select.cpp.
void lowerAttend(Emitter &e, KernelContext &k, sparsity::AttendOp op);
void lowerAttendPart(Emitter &e, KernelContext &k, sparsity::AttendPartOp op);
void lowerCombine(Emitter &e, KernelContext &k, sparsity::CombineOp op);
void lowerMass(Emitter &e, KernelContext &k, sparsity::MassOp op);
void lowerMassOfScores(Emitter &e, KernelContext &k, sparsity::MassOfScoresOp op);
void lowerScore(Emitter &e, KernelContext &k, sparsity::ScoreOp op);
void lowerSelect(Emitter &e, KernelContext &k, sparsity::SelectOp op);

// Kernels that change the cache: CacheUpdate.cpp, Compact.cpp.
void lowerAppend(Emitter &e, KernelContext &k, kvcache::AppendOp op);
void lowerCompress(Emitter &e, KernelContext &k, kvcache::CompressOp op);
void lowerRebuild(Emitter &e, KernelContext &k, kvcache::RebuildOp op);
void lowerChoose(Emitter &e, KernelContext &k, kvcache::ChooseOp op);
void lowerGather(Emitter &e, KernelContext &k, kvcache::GatherOp op);
void lowerPlace(Emitter &e, KernelContext &k, kvcache::PlaceOp op);

/// Pages of one segment of a list of `pages` pages: `segment`, or for 0 what makes `count` equal ones. Attend.cpp.
Value segmentLength(Emitter &e, Value pages, int64_t segment, int64_t count);

// Kernels that merge evicted slots: Merge.cpp.
void lowerNearestPart(Emitter &e, KernelContext &k, sparsity::NearestPartOp op);
void lowerMatch(Emitter &e, KernelContext &k, sparsity::MatchOp op);
void lowerMerge(Emitter &e, KernelContext &k, sparsity::MergeOp op);
void lowerMatchChosen(Emitter &e, KernelContext &k, sparsity::MatchChosenOp op);
void lowerSettle(Emitter &e, KernelContext &k, sparsity::SettleOp op);
void lowerMergeChosen(Emitter &e, KernelContext &k, sparsity::MergeChosenOp op);

// Kernels by which layers share a budget: Budgets.cpp.
void lowerSpread(Emitter &e, KernelContext &k, sparsity::SpreadOp op);
void lowerShareBudget(Emitter &e, KernelContext &k, sparsity::ShareBudgetOp op);
void lowerSetBudget(Emitter &e, KernelContext &k, sparsity::SetBudgetOp op);
/// Of `count` (i32) numbers, from the sums of the squares of their deviations from about the mean, and of the
/// deviations; 0 of fewer than two.
Value unbiasedVariance(Emitter &e, Value squares, Value rest, Value count);

// Shared by the kernels on caches: CacheUpdate.cpp.

using StateBody = function_ref<SmallVector<Value>(Value iv, ValueRange extra)>;
/// Runs `body` on a state carried through `for iv in [lower, upper)`, with `extra` values beside it.
SmallVector<Value> stateLoop(Emitter &e, LayerState &state, Value lower, Value upper, ValueRange extra, StateBody body);
/// The tasks of a kernel that changes a state in place (Emitter::tasks), with `extra` values beside it.
SmallVector<Value> stateTasks(Emitter &e, LayerState &state, ArrayRef<int64_t> grid, ValueRange extra,
                              function_ref<SmallVector<Value>(ValueRange ivs, ValueRange extra)> body);
/// Runs `then` on the state where the condition holds.
SmallVector<Value> stateIf(Emitter &e, LayerState &state, Value condition, ValueRange extra,
                           function_ref<SmallVector<Value>()> then);

// The keys and values of single slots: SlotRows.cpp. `pool` is "key" or "value".

/// The component that holds the scales of a pool's codes.
inline StringRef scaleOfPool(StringRef pool) { return pool == "key" ? "key_scale" : "value_scale"; }
/// The scale (f32) of a slot's codes; null where pages hold the numbers themselves.
Value slotScale(Emitter &e, LayerState &state, StringRef pool, Value sequence, Value head, Value slot);
/// What memory has, as f32, times the scale if there is one.
Value numberOf(Emitter &e, Value stored, Value scale);
/// Where a channel of a slot is in its pool.
SmallVector<Value> placeInPool(StringRef pool, Value physical, Value lane, Value channel);
/// Writes a slot's row. `number` gives a channel as f32; it may read that channel, and other slots, of the pool `tensor`.
void storeRow(Emitter &e, LayerState &state, StringRef pool, Value sequence, Value head, Value slot, Value physical,
              function_ref<Value(Value tensor, Value channel)> number);

/// A slot field that follows the mass, the policy that updates it, and the heads of all policies that name it.
struct Statistic {
  StringRef field;
  unsigned index;
  sparsity::PolicyAttrInterface policy;
  SmallVector<int64_t> heads; // empty for all
};
SmallVector<Statistic> statisticsOf(kvcache::LayoutAttr layout);

/// Whether KV head `head` (index) is one of `heads`; null when all are (empty list).
Value isGoverned(Emitter &e, Value head, ArrayRef<int64_t> heads);
/// The cap of KV head `head` as an index when the newest token is at position `newest` (i32, null where all caps
/// are constant); the layout's slots when it has none. `budget` (i32) is what a prompt has set, 0 for nothing; null where
/// the layout lets prompts set none.
Value capOf(Emitter &e, kvcache::LayoutAttr layout, Value head, Value newest, Value budget);
/// The same, the budget read from the state.
Value capOf(Emitter &e, LayerState &state, Value sequence, Value head, Value newest);
/// The eviction key (f32) of a slot of position `position`, +inf outside every policy's heads. `cap` is that of `capOf`,
/// `fieldOf` gives the slot's fields.
Value evictionKey(Emitter &e, kvcache::LayoutAttr layout, Value head, Value position, Value newest, Value cap,
                  function_ref<Value(StringRef field)> fieldOf);
/// The same of slot `slot` of the state.
Value evictionKey(Emitter &e, LayerState &state, Value sequence, Value head, Value slot, Value newest, Value cap);
/// What else there is of each slot, scales and fields, in the order in which `kvcache.gather` copies them after keys, values and positions.
SmallVector<StringRef> slotFields(kvcache::LayoutAttr layout);
/// The policy of the layer that keeps `field`.
sparsity::PolicyAttrInterface fieldOwner(kvcache::LayoutAttr layout, kvcache::FieldAttr field);
/// Folds slot `slot` of page `page` (logical, with physical page `physical`) into the content fields of its page;
/// `fresh` (i1) starts the page anew.
void updateContent(Emitter &e, LayerState &state, Value sequence, Value head, Value slot, Value physical, Value fresh);
/// Whether the policies of the layer let a query at `queryPos` see a key at `keyPos` (i32); null for always.
Value isVisible(Emitter &e, kvcache::LayoutAttr layout, Value head, Value queryPos, Value keyPos);

} // namespace sparse::lowering

#endif
