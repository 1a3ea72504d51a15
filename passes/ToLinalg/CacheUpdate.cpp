//===-- CacheUpdate.cpp - Kernels that change the cache: append, compress, rebuild --------------------------------===//
//
// Every read and write of a component goes through the one carried tensor, so that bufferization stays in place. An
// append touches a few hundred elements a step: loops over scalars. What follows a step sees every slot: tiles of a page.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"
#include "passes/ToLinalg/Lowering.h"

#include <limits>

using namespace sparse;
using namespace sparse::lowering;

using Pred = arith::CmpIPredicate;

static int64_t rowsOf(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(0); }

Value sparse::lowering::isGoverned(Emitter &e, Value head, ArrayRef<int64_t> heads) {
  Value any;
  for (int64_t governed : heads) {
    Value same = e.cmp(Pred::eq, head, e.index(governed));
    any = any ? e.either(any, same) : same;
  }
  return any;
}

Value sparse::lowering::capOf(Emitter &e, kvcache::LayoutAttr layout, Value head, Value newest, Value budget) {
  using Cap = kvcache::LayoutAttr::Cap;
  auto slots = [&](const Cap &cap) {
    if (cap.over == 0)
      return e.index(cap.most > 0 ? cap.most : layout.getMaxSlots());
    return e.toIndex(sparsity::budgetAt(e.b, e.loc, cap.most, {cap.over, cap.least}, newest));
  };
  Cap first = layout.getCap(0);
  Value cap = slots(first);
  for (int64_t index = 1; index < layout.getKvHeads(); ++index)
    if (Cap other = layout.getCap(index); !(other == first))
      cap = e.select(e.cmp(Pred::eq, head, e.index(index)), slots(other), cap);
  return budget ? e.select(e.cmp(Pred::sgt, budget, e.i32(0)), e.toIndex(budget), cap) : cap;
}

Value sparse::lowering::capOf(Emitter &e, LayerState &state, Value sequence, Value head, Value newest) {
  bool ofPrompt = state.layout.getCapsOfPrompt();
  return capOf(e, state.layout, head, newest, ofPrompt ? e.extract(state["budget"], {sequence, head}) : Value());
}

/// The KV policies of a layout.
static SmallVector<sparsity::KVPolicyInterface> kvPolicies(kvcache::LayoutAttr layout) {
  SmallVector<sparsity::KVPolicyInterface> policies;
  for (Attribute policy : layout.getPolicies())
    if (auto kv = dyn_cast<sparsity::KVPolicyInterface>(policy))
      policies.push_back(kv);
  return policies;
}

Value sparse::lowering::isVisible(Emitter &e, kvcache::LayoutAttr layout, Value head, Value queryPos, Value keyPos) {
  Value visible;
  for (sparsity::KVPolicyInterface policy : kvPolicies(layout)) {
    Value own = policy.buildVisible(e.b, e.loc, queryPos, keyPos);
    if (!own)
      continue;
    if (Value governed = isGoverned(e, head, policy.getHeads())) {
      Value truth = arith::ConstantOp::create(e.b, e.loc, e.b.getBoolAttr(true));
      own = e.select(governed, own, truth);
    }
    visible = visible ? e.both(visible, own) : own;
  }
  return visible;
}

Value sparse::lowering::evictionKey(Emitter &e, kvcache::LayoutAttr layout, Value head, Value position, Value newest,
                                    Value cap, function_ref<Value(StringRef field)> fieldOf) {
  Value key = e.f32(std::numeric_limits<double>::infinity());
  for (sparsity::KVPolicyInterface policy : kvPolicies(layout)) {
    SmallVector<Value> fields;
    for (StringRef field : policy.getSlotFields())
      fields.push_back(fieldOf(field));
    Value present = layout.getCapsOfPrompt() ? e.toI32(cap) : Value();
    Value own = policy.buildKey(e.b, e.loc, position, newest, fields, present);
    Value governed = isGoverned(e, head, policy.getHeads());
    key = governed ? e.select(governed, own, key) : own;
  }
  return key;
}

Value sparse::lowering::evictionKey(Emitter &e, LayerState &state, Value sequence, Value head, Value slot,
                                    Value newest, Value cap) {
  Value position = e.extract(state["position"], {sequence, head, slot});
  return evictionKey(e, state.layout, head, position, newest, cap,
                     [&](StringRef field) { return e.extract(state[field], {sequence, head, slot}); });
}

sparsity::PolicyAttrInterface sparse::lowering::fieldOwner(kvcache::LayoutAttr layout, kvcache::FieldAttr field) {
  sparsity::LayerFacts facts;
  facts.kvHeads = layout.getKvHeads();
  facts.keyDim = layout.getKeyDim();
  facts.valueDim = layout.getValueDim();
  facts.page = layout.getPage();
  facts.type = layout.getType();
  sparsity::PolicyAttrInterface owner;
  for (Attribute attr : layout.getPolicies()) {
    SmallVector<Attribute> own;
    auto policy = cast<sparsity::PolicyAttrInterface>(attr);
    policy.getFields(facts, own);
    if (llvm::is_contained(own, field))
      owner = policy;
  }
  return owner;
}

void sparse::lowering::updateContent(Emitter &e, LayerState &state, Value sequence, Value head, Value slot,
                                     Value physical, Value fresh) {
  kvcache::LayoutAttr layout = state.layout;
  Value page = e.div(slot, layout.getPage()), lane = e.rem(slot, layout.getPage());
  for (auto field : layout.getFields().getAsRange<kvcache::FieldAttr>()) {
    if (!field.getContent() || field.getScope() != kvcache::Scope::Page)
      continue;
    StringRef name = field.getName();
    sparsity::PolicyAttrInterface owner = fieldOwner(layout, field);
    Value initial = e.toF32(arith::ConstantOp::create(e.b, e.loc, field.getInit()));
    Value scale = slotScale(e, state, "key", sequence, head, slot);
    state[name] = e.loop(layout.getKeyDim(), state[name], [&](Value channel, ValueRange carried) {
      SmallVector<Value> at{sequence, head, page, channel};
      Value old = e.select(fresh, initial, e.toF32(e.extract(carried[0], at)));
      Value key = numberOf(e, e.extract(state["key"], {physical, channel, lane}), scale);
      Value updated = owner.buildFieldUpdate(e.b, e.loc, name, old, key);
      return SmallVector<Value>{e.insert(e.fromF32(updated, field.getType()), carried[0], at)};
    })[0];
  }
}

/// Sets the slot-scope fields of a slot to their initial values.
static void resetSlot(Emitter &e, LayerState &state, Value sequence, Value head, Value slot) {
  for (auto field : state.layout.getFields().getAsRange<kvcache::FieldAttr>())
    if (field.getScope() == kvcache::Scope::Slot) {
      Value initial = arith::ConstantOp::create(e.b, e.loc, field.getInit());
      state[field.getName()] = e.insert(initial, state[field.getName()], {sequence, head, slot});
    }
}

/// What a loop carries beside a state, from before a step to after it; the step is given what is carried in all.
using OfExtra = function_ref<SmallVector<Value>(ValueRange extra)>;
using StateStep = function_ref<SmallVector<Value>(ValueRange carried, OfExtra body)>;

/// `run` carries the state and the `extra` values through steps, one after the other.
static SmallVector<Value> carryState(LayerState &state, ValueRange extra,
                                     function_ref<SmallVector<Value>(ValueRange init, StateStep step)> run) {
  SmallVector<Value> init(state.values);
  llvm::append_range(init, extra);
  size_t n = state.values.size();
  SmallVector<Value> results = run(init, [&](ValueRange carried, OfExtra body) {
    state.values.assign(carried.begin(), carried.begin() + n);
    SmallVector<Value> next = body(carried.drop_front(n));
    SmallVector<Value> all(state.values);
    llvm::append_range(all, next);
    return all;
  });
  state.values.assign(results.begin(), results.begin() + n);
  return SmallVector<Value>(results.begin() + n, results.end());
}

SmallVector<Value> sparse::lowering::stateLoop(Emitter &e, LayerState &state, Value lower, Value upper,
                                               ValueRange extra, StateBody body) {
  return carryState(state, extra, [&](ValueRange init, StateStep step) {
    return e.loop(lower, upper, init, [&](Value iv, ValueRange carried) {
      return step(carried, [&](ValueRange own) { return body(iv, own); });
    });
  });
}

SmallVector<Value> sparse::lowering::stateTasks(
    Emitter &e, LayerState &state, ArrayRef<int64_t> grid, ValueRange extra,
    function_ref<SmallVector<Value>(ValueRange ivs, ValueRange extra)> body) {
  return carryState(state, extra, [&](ValueRange init, StateStep step) {
    return e.tasks(grid, init, [&](ValueRange ivs, ValueRange carried) {
      return step(carried, [&](ValueRange own) { return body(ivs, own); });
    });
  });
}

SmallVector<Value> sparse::lowering::stateIf(Emitter &e, LayerState &state, Value condition, ValueRange extra,
                                             function_ref<SmallVector<Value>()> then) {
  SmallVector<Value> before(state.values);
  llvm::append_range(before, extra);
  size_t n = state.values.size();
  SmallVector<Value> results = e.ifThen(condition, before, [&]() {
    SmallVector<Value> next = then();
    SmallVector<Value> all(state.values);
    llvm::append_range(all, next);
    return all;
  });
  state.values.assign(results.begin(), results.begin() + n);
  return SmallVector<Value>(results.begin() + n, results.end());
}

void sparse::lowering::lowerAppend(Emitter &e, KernelContext &k, kvcache::AppendOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value key = k[op.getKey()], value = k[op.getValue()], positions = k[op.getPositions()];
  Value sequences = k[op.getSequences()], active = k[op.getActive()], status = k[op.getStatus()];
  int64_t rows = rowsOf(key), heads = layout.getKvHeads(), dk = layout.getKeyDim(), dv = layout.getValueDim();
  bool slotted = layout.getSlotted(), reuses = slotted && !op.getPrefill();

  auto appendOne = [&](Value row, Value head, Value sequence, Value statusIn) -> SmallVector<Value> {
    Value count = e.extract(state["count"], {sequence, head});
    Value slotI32 = count, hasVictim;
    if (reuses) {
      Value victim = e.extract(state["victim"], {sequence, head});
      hasVictim = e.cmp(Pred::sge, victim, e.i32(0));
      slotI32 = e.select(hasVictim, victim, count);
    }
    Value slot = e.toIndex(slotI32), page = e.div(slot, layout.getPage()), lane = e.rem(slot, layout.getPage());
    Value inTable = e.cmp(Pred::ult, page, e.index(layout.getMaxPages()));
    Value safePage = e.select(inTable, page, e.index(0));
    Value physicalI32 = e.extract(state["table"], {sequence, head, safePage});
    Value reserved = e.both(inTable, e.cmp(Pred::sge, physicalI32, e.i32(0)));
    Value newStatus = e.select(reserved, e.extract(statusIn, e.index(0)), e.i32(1));
    Value statusOut = e.insert(newStatus, statusIn, e.index(0));
    stateIf(e, state, reserved, {}, [&]() -> SmallVector<Value> {
      Value physical = e.toIndex(physicalI32);
      storeRow(e, state, "key", sequence, head, slot, physical, [&](Value, Value channel) {
        return e.extract(key, {row, e.add(e.mul(head, e.index(dk)), channel)});
      });
      storeRow(e, state, "value", sequence, head, slot, physical, [&](Value, Value channel) {
        return e.extract(value, {row, e.add(e.mul(head, e.index(dv)), channel)});
      });
      Value fresh = e.cmp(Pred::eq, lane, e.index(0));
      Value next = e.add(count, e.i32(1));
      if (hasVictim) {
        Value truth = arith::ConstantOp::create(e.b, e.loc, e.b.getBoolAttr(true));
        fresh = e.both(fresh, arith::XOrIOp::create(e.b, e.loc, hasVictim, truth));
        next = e.select(hasVictim, count, next);
        state["victim"] = e.insert(e.i32(-1), state["victim"], {sequence, head});
      }
      updateContent(e, state, sequence, head, slot, physical, fresh);
      state["count"] = e.insert(next, state["count"], {sequence, head});
      if (slotted) {
        state["position"] = e.insert(e.extract(positions, row), state["position"], {sequence, head, slot});
        state["tail"] = e.insert(slotI32, state["tail"], {sequence, head});
        resetSlot(e, state, sequence, head, slot);
      }
      return {};
    });
    return {statusOut};
  };

  SmallVector<Value> out = stateLoop(e, state, e.index(0), e.index(rows), status, [&](Value row, ValueRange extra) {
    Value isActive = e.cmp(Pred::ne, e.extract(active, row), e.i32(0));
    return stateIf(e, state, isActive, extra, [&]() -> SmallVector<Value> {
      Value sequence = e.toIndex(e.extract(sequences, row));
      return stateLoop(e, state, e.index(0), e.index(heads), extra, [&](Value head, ValueRange inner) {
        return appendOne(row, head, sequence, inner[0]);
      });
    });
  });
  k.set(op.getResult(), state);
  k.set(op.getNewStatus(), out[0]);
  k.tie[op.getNewStatus()] = status;
}

SmallVector<Statistic> sparse::lowering::statisticsOf(kvcache::LayoutAttr layout) {
  SmallVector<Statistic> statistics;
  for (auto policy : layout.getPolicies().getAsRange<sparsity::PolicyAttrInterface>())
    for (auto [index, field] : llvm::enumerate(policy.getSlotFields())) {
      SmallVector<int64_t> heads(policy.getHeads());
      auto *known = llvm::find_if(statistics, [&, field = field](const Statistic &s) { return s.field == field; });
      if (known == statistics.end())
        statistics.push_back({field, static_cast<unsigned>(index), policy, heads});
      else if (heads.empty() || known->heads.empty())
        known->heads.clear();
      else
        for (int64_t head : heads)
          if (!llvm::is_contained(known->heads, head))
            known->heads.push_back(head);
    }
  return statistics;
}

namespace {

/// What a step leaves in one KV head of one row, and which slot it evicts there.
class HeadUpdate {
public:
  HeadUpdate(Emitter &e, LayerState &state, Value row, Value head, Value sequence)
      : e(e), state(state), layout(state.layout), row(row), head(head), sequence(sequence),
        count(e.extract(state["count"], {sequence, head})), extent(e.toIndex(count)) {}

  /// Adds what the slots in use received to the policies' statistics.
  void addMass(Value mass);
  /// Frees the slot of least key if the head is over its cap; returns its position, or -1.
  Value evict(Value newest);

private:
  /// A slot that may be evicted: its key (f32), position and number (i32).
  struct Candidate {
    Value key, position, slot;

    static Candidate of(ValueRange values) { return {values[0], values[1], values[2]}; }
    SmallVector<Value> pack() const { return {key, position, slot}; }
  };

  SmallVector<OpFoldResult> tileAt(Value outer, Value first) { return {outer, head, first}; }
  Value tile(Value tensor, Value outer, Value first) {
    return e.slice(tensor, tileAt(outer, first), {1, 1, layout.getPage()}, {layout.getPage()});
  }
  SmallVector<Value> overPages(ValueRange init, Emitter::LoopBody body);
  Value slotInTile(Emitter &in, Value first);
  Candidate better(Emitter &in, const Candidate &one, const Candidate &best);
  Candidate worst(function_ref<Value(Value)> spread);
  Candidate least(Value newest, Value cap);

  Emitter &e;
  LayerState &state;
  kvcache::LayoutAttr layout;
  Value row, head, sequence;
  Value count, extent; // of the head, as i32 and as index
};

} // namespace

/// for the first slot of every page in use.
SmallVector<Value> HeadUpdate::overPages(ValueRange init, Emitter::LoopBody body) {
  Value page = e.index(layout.getPage());
  return e.loop(e.index(0), e.ceilDiv(extent, layout.getPage()), init, [&](Value logical, ValueRange carried) {
    return body(e.mul(logical, page), carried);
  });
}

/// In the region of a tile: the slot (i32) of the element.
Value HeadUpdate::slotInTile(Emitter &in, Value first) {
  return in.add(in.toI32(first), in.toI32(linalg::IndexOp::create(in.b, in.loc, 0)));
}

void HeadUpdate::addMass(Value mass) {
  AffineMap one = e.map(1, {0});
  for (const Statistic &statistic : statisticsOf(layout)) {
    Value &field = state[statistic.field];
    field = overPages(field, [&](Value first, ValueRange carried) {
      Value received = tile(mass, row, first);
      Value now = e.generic(
          received, tile(carried[0], sequence, first), {one, one}, {utils::IteratorType::parallel},
          [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
            Emitter in(b, loc);
            sparsity::PolicyAttrInterface policy = statistic.policy;
            Value changes = in.cmp(Pred::slt, slotInTile(in, first), count);
            if (Value governed = isGoverned(in, head, statistic.heads))
              changes = in.both(changes, governed);
            return in.select(changes, policy.buildStatistic(b, loc, statistic.index, a[1], a[0]), a[1]);
          });
      return SmallVector<Value>{
          e.insertSlice(now, carried[0], tileAt(sequence, first), {1, 1, layout.getPage()})};
    })[0];
  }
}

/// The one of smaller key; of equal keys the older.
HeadUpdate::Candidate HeadUpdate::better(Emitter &in, const Candidate &one, const Candidate &best) {
  using Float = arith::CmpFPredicate;
  Value less = arith::CmpFOp::create(in.b, in.loc, Float::OLT, one.key, best.key);
  Value tie = in.both(arith::CmpFOp::create(in.b, in.loc, Float::OEQ, one.key, best.key),
                      in.cmp(Pred::slt, one.position, best.position));
  Value isBetter = in.either(less, tie);
  return {in.select(isBetter, one.key, best.key), in.select(isBetter, one.position, best.position),
          in.select(isBetter, one.slot, best.slot)};
}

/// What every slot is better than.
HeadUpdate::Candidate HeadUpdate::worst(function_ref<Value(Value)> spread) {
  return {spread(e.f32(std::numeric_limits<double>::infinity())), spread(e.i32(std::numeric_limits<int32_t>::max())),
          spread(e.i32(-1))};
}

/// The slot to evict. The best of each lane of the pages first, then of the lanes: positions differ, so the order of
/// comparisons does not matter.
HeadUpdate::Candidate HeadUpdate::least(Value newest, Value cap) {
  int64_t page = layout.getPage();
  SmallVector<StringRef> fields;
  for (sparsity::KVPolicyInterface policy : kvPolicies(layout))
    for (StringRef field : policy.getSlotFields())
      if (!llvm::is_contained(fields, field))
        fields.push_back(field);
  Candidate none = worst([&](Value value) { return e.filled({page}, value); });
  SmallVector<Value> lanes = overPages(none.pack(), [&](Value first, ValueRange carried) {
    SmallVector<Value> inputs{tile(state["position"], sequence, first)};
    for (StringRef field : fields)
      inputs.push_back(tile(state[field], sequence, first));
    SmallVector<AffineMap> maps(inputs.size() + carried.size(), e.map(1, {0}));
    return e.generics(inputs, carried, maps, {utils::IteratorType::parallel},
                      [&](OpBuilder &b, Location loc, ValueRange a) {
                        Emitter in(b, loc);
                        Candidate own{{}, a[0], slotInTile(in, first)}, best = Candidate::of(a.take_back(3));
                        own.key = evictionKey(in, layout, head, own.position, newest, cap, [&](StringRef field) {
                          return a[1 + (llvm::find(fields, field) - fields.begin())];
                        });
                        // What lies past the extent is no slot: it changes nothing.
                        Value inside = in.cmp(Pred::slt, own.slot, count);
                        SmallVector<Value> next;
                        for (auto [better, before] : llvm::zip(better(in, own, best).pack(), best.pack()))
                          next.push_back(in.select(inside, better, before));
                        return next;
                      });
  });
  Candidate start = worst([](Value value) { return value; });
  return Candidate::of(e.loop(page, start.pack(), [&](Value lane, ValueRange best) {
    Candidate own{e.extract(lanes[0], lane), e.extract(lanes[1], lane), e.extract(lanes[2], lane)};
    return better(e, own, Candidate::of(best)).pack();
  }));
}

Value HeadUpdate::evict(Value newest) {
  // After an append there is no victim, so every slot below the extent is live.
  Value cap = capOf(e, state, sequence, head, newest), over = e.cmp(Pred::ugt, extent, cap);
  return stateIf(e, state, over, e.i32(-1), [&]() -> SmallVector<Value> {
    Candidate victim = least(newest, cap);
    state["position"] = e.insert(e.i32(-1), state["position"], {sequence, head, e.toIndex(victim.slot)});
    state["victim"] = e.insert(victim.slot, state["victim"], {sequence, head});
    return {victim.position};
  })[0];
}

void sparse::lowering::lowerCompress(Emitter &e, KernelContext &k, kvcache::CompressOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value mass = op.getMass().empty() ? Value() : k[op.getMass().front()];
  Value positions = k[op.getPositions()], sequences = k[op.getSequences()], active = k[op.getActive()];
  // In prefill the mass of all rows is summed: the first row stands for the sequence.
  int64_t batch = op.getPrefill() ? 1 : rowsOf(positions), heads = layout.getKvHeads();
  bool evicts = !op.getPrefill() && layout.isCapped();

  SmallVector<Value> none; // the positions of what is evicted, where somebody asks for them
  if (!op.getEvicted().empty())
    none.push_back(e.empty({batch, heads}, e.b.getI32Type()));
  // Active rows are of different sequences, and the others touch no state.
  SmallVector<Value> all =
      stateTasks(e, state, {batch, heads}, none, [&](ValueRange ivs, ValueRange extra) -> SmallVector<Value> {
        Value row = ivs[0], head = ivs[1];
        Value isActive = e.cmp(Pred::ne, e.extract(active, row), e.i32(0));
        Value evicted = stateIf(e, state, isActive, e.i32(-1), [&]() -> SmallVector<Value> {
          HeadUpdate update(e, state, row, head, e.toIndex(e.extract(sequences, row)));
          if (mass)
            update.addMass(mass);
          return {evicts ? update.evict(e.extract(positions, row)) : e.i32(-1)};
        })[0];
        if (extra.empty())
          return {};
        return {e.insert(evicted, extra[0], {row, head})};
      });
  k.set(op.getResult(), state);
  for (auto [evicted, value] : llvm::zip(op.getEvicted(), all))
    k.set(evicted, value);
}

void sparse::lowering::lowerRebuild(Emitter &e, KernelContext &k, kvcache::RebuildOp op) {
  LayerState state = k.layer(op.getState());
  kvcache::LayoutAttr layout = state.layout;
  Value sequence = e.toIndex(e.extract(k[op.getSequences()], e.index(0)));
  stateLoop(e, state, e.index(0), e.index(layout.getKvHeads()), {}, [&](Value head, ValueRange) -> SmallVector<Value> {
    Value extent = e.toIndex(e.extract(state["count"], {sequence, head}));
    return stateLoop(e, state, e.index(0), extent, {}, [&](Value slot, ValueRange) -> SmallVector<Value> {
      Value page = e.div(slot, layout.getPage());
      Value physical = e.toIndex(e.extract(state["table"], {sequence, head, page}));
      Value fresh = e.cmp(Pred::eq, e.rem(slot, layout.getPage()), e.index(0));
      updateContent(e, state, sequence, head, slot, physical, fresh);
      return {};
    });
  });
  k.set(op.getResult(), state);
}
