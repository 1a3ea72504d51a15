//===-- Append.cpp - New keys and values into the cache, a block for each KV head ---------------------------------===//
//
// In decode a block also has its own row, as rows belong to different sequences; a block of a prompt goes through rows in
// order, so that the fields of a page have one writer: those of one page where slots are positions, else all. Threads share the channels. The meaning is that
// of the linalg lowering (passes/ToLinalg/CacheUpdate.cpp). The rotations of the key and of the step's query may be in the
// kernel: keys are rotated on their way to the cache, further blocks rotate a query head each.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "passes/ToGPU/Templates/ContentFields.h"
#include "passes/ToGPU/Templates/Rotation.h"
#include "passes/ToGPU/Templates/RowStore.h"
#include "passes/ToGPU/Templates/Templates.h"
#include "passes/ToLinalg/Lowering.h"

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kMostThreads = 256;

static std::string whyNot(plan::KernelOp, sparsity::TargetAttr) { return ""; }

namespace {
/// Where a token goes.
struct Place {
  Value count, slot, page, lane, physical;
  Value reused, reserved; // i1: the victim's slot; the page is there

  SmallVector<Value> pack() const { return {count, slot, page, lane, physical, reused, reserved}; }
  static Place unpack(ValueRange v) { return {v[0], v[1], v[2], v[3], v[4], v[5], v[6]}; }
};

struct AppendEmitter {
  DeviceKernel &k;
  Device &d;
  kvcache::AppendOp op;
  LayerBuffers &layer;
  Value head, thread, isFirst; // isFirst: of the block's threads
  RowStore storeRow;
  std::optional<Rotation> rotation; // of the key

  /// The place of a token whose slot would be `count`.
  Place placeOf(Value sequence, Value count);
  /// Appends a row; returns the next count.
  Value appendRow(Value row, Value sequence, const Place &place);

private:
  void storeVectors(Value row, Value page, const SlotPlace &place, Value fresh);
  void storeSlot(Value row, Value sequence, Value slot);
  void raiseCount(Value sequence, Value next);
};
} // namespace

/// The key and the value, and what the page's content fields become with the key.
void AppendEmitter::storeVectors(Value row, Value page, const SlotPlace &place, Value fresh) {
  kvcache::LayoutAttr layout = layer.layout;
  Buffer &value = k.buffer(op.getValue());
  auto keyAt = [&](Value channel) {
    if (rotation)
      return rotation->entry(row, head, channel);
    return d.toF32(k.load(k.buffer(op.getKey()), {row, d.add(d.mul(head, d.i32(layout.getKeyDim())), channel)}));
  };
  storeRow("key", place, keyAt, [&](Value channel, Value seen) {
    foldIntoContentFields(k, layer, place, page, channel, seen, fresh);
  });
  storeRow("value", place, [&](Value channel) {
    return d.toF32(k.load(value, {row, d.add(d.mul(head, d.i32(layout.getValueDim())), channel)}));
  });
}

/// What a slotted layer keeps for each slot.
void AppendEmitter::storeSlot(Value row, Value sequence, Value slot) {
  k.store(k.load(k.buffer(op.getPositions()), {row}), layer["position"], {sequence, head, slot});
  k.store(slot, layer["tail"], {sequence, head});
  for (auto field : layer.layout.getFields().getAsRange<kvcache::FieldAttr>())
    if (field.getScope() == kvcache::Scope::Slot)
      k.store(arith::ConstantOp::create(d.b, d.loc, field.getInit()), layer[field.getName()], {sequence, head, slot});
}

/// Pages of a prompt are appended side by side: the count becomes the largest of theirs.
void AppendEmitter::raiseCount(Value sequence, Value next) {
  Buffer &count = layer["count"];
  LLVM::AtomicRMWOp::create(d.b, d.loc, LLVM::AtomicBinOp::max, d.pointer(count.span, k.offsetOf(count, {sequence, head})),
                            next, LLVM::AtomicOrdering::monotonic);
}

Place AppendEmitter::placeOf(Value sequence, Value count) {
  kvcache::LayoutAttr layout = layer.layout;
  Value slot = count, reused = d.boolean(false);
  if (layout.getSlotted() && !op.getPrefill()) {
    Value victim = k.load(layer["victim"], {sequence, head});
    reused = d.ge(victim, d.i32(0));
    slot = d.select(reused, victim, count);
  }
  Value page = d.divU(slot, layout.getPage()), lane = d.remU(slot, layout.getPage());
  Value inTable = d.cmp(arith::CmpIPredicate::ult, page, d.i32(layout.getMaxPages()));
  Value physical = k.load(layer["table"], {sequence, head, d.select(inTable, page, d.i32(0))});
  return {count, slot, page, lane, physical, reused, d.bitAnd(inTable, d.ge(physical, d.i32(0)))};
}

Value AppendEmitter::appendRow(Value row, Value sequence, const Place &place) {
  kvcache::LayoutAttr layout = layer.layout;
  bool reuses = layout.getSlotted() && !op.getPrefill();
  Value count = place.count, slot = place.slot, page = place.page, lane = place.lane, reused = place.reused;
  // Every thread has read the old state before one changes it.
  d.barrier();
  return d.ifThenElse(
      place.reserved,
      [&]() -> SmallVector<Value> {
        Value fresh = d.bitAnd(d.eq(lane, d.i32(0)), d.bitXor(reused, d.boolean(true)));
        storeVectors(row, page, {sequence, head, slot, place.physical, lane}, fresh);
        Value next = d.select(reused, count, d.add(count, d.i32(1)));
        d.ifThen(isFirst, [&] {
          if (op.getPrefill() && !layout.getSlotted())
            raiseCount(sequence, next);
          else
            k.store(next, layer["count"], {sequence, head});
          if (reuses)
            k.store(d.i32(-1), layer["victim"], {sequence, head});
          if (layout.getSlotted())
            storeSlot(row, sequence, slot);
        });
        return {next};
      },
      [&]() -> SmallVector<Value> {
        d.ifThen(isFirst, [&] { k.store(d.i32(1), k.buffer(op.getStatus()), {d.i32(0)}); });
        return {count};
      })[0];
}

/// The rotation of the step's query, if it is in the kernel.
static onnx::RotaryEmbeddingOp queryRope(DeviceKernel &k, kvcache::AppendOp append) {
  for (Operation *op : k.ops)
    if (auto rope = dyn_cast<onnx::RotaryEmbeddingOp>(op); rope && rope.getResult() != append.getKey())
      return rope;
  return {};
}

/// A prompt's rows that fall into one page of a layer whose slots are positions: block `part` takes the part-th page from
/// the first row on. Active rows come first and follow each other.
static void appendPage(DeviceKernel &k, AppendEmitter &e, kvcache::AppendOp op, Value part) {
  Device &d = k.d;
  kvcache::LayoutAttr layout = e.layer.layout;
  int64_t rows = k.buffer(op.getSequences()).size(0);
  Value sequence = k.load(k.buffer(op.getSequences()), {d.i32(0)});
  Value start = k.load(k.buffer(op.getPositions()), {d.i32(0)});
  Value page = d.add(d.divU(start, layout.getPage()), part), base = d.mul(page, d.i32(layout.getPage()));
  Value first = d.maxS(d.sub(base, start), d.i32(0));
  Value last = d.minS(d.sub(d.add(base, d.i32(layout.getPage())), start), d.i32(rows));
  d.loop(first, last, d.i32(1), [&](Value row) {
    Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {row}), d.i32(0));
    d.ifThen(active, [&] { e.appendRow(row, sequence, e.placeOf(sequence, d.add(start, row))); });
  });
}

/// All rows of a prompt.
static void appendPrompt(DeviceKernel &k, AppendEmitter &e, kvcache::AppendOp op) {
  Device &d = k.d;
  Buffer &sequences = k.buffer(op.getSequences());
  if (!e.layer.layout.getSlotted())
    return appendPage(k, e, op, d.blockId(1));
  Value sequence = k.load(sequences, {d.i32(0)});
  Value count = k.load(e.layer["count"], {sequence, e.head});
  d.loop(d.i32(0), d.i32(sequences.size(0)), d.i32(1), count, [&](Value row, ValueRange carried) {
    Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {row}), d.i32(0));
    return d.ifThenElse(
        active, [&]() -> SmallVector<Value> { return {e.appendRow(row, sequence, e.placeOf(sequence, carried[0]))}; },
        [&]() -> SmallVector<Value> { return {carried[0]}; });
  });
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<kvcache::AppendOp>(headOf(k.ops));
  kvcache::LayoutAttr layout = op.getState().getType().getLayout();
  onnx::RotaryEmbeddingOp query = queryRope(k, op);
  int64_t rows = k.buffer(op.getSequences()).size(0), widest = std::max(layout.getKeyDim(), layout.getValueDim());
  int64_t threads = std::min<int64_t>(kMostThreads, llvm::alignTo(widest, kWarp));
  int64_t kvHeads = layout.getKvHeads(), queryHeads = query ? int64_t(query.getNumHeads()) : 0;
  // Blocks along y that append: one for each row, page, or all of a prompt. Those that rotate have a row each.
  int64_t parts = !op.getPrefill() ? rows : layout.getSlotted() ? 1 : rows / layout.getPage() + 2;
  k.grid = {kvHeads + queryHeads, query ? std::max(rows, parts) : parts, 1};
  k.block = {threads, 1, 1};

  Value thread = d.threadId(), block = d.blockId(0), row = d.blockId(1);
  LayerBuffers &layer = k.layer(op.getState());
  AppendEmitter e{k,       d, op, layer, block, thread, d.eq(thread, d.i32(0)), RowStore(k, layer, threads), {}};
  if (auto rope = op.getKey().getDefiningOp<onnx::RotaryEmbeddingOp>())
    e.rotation.emplace(k, rope);
  std::optional<Rotation> rotation;
  if (query)
    rotation.emplace(k, query);
  std::function<void()> append = [&] { appendPrompt(k, e, op); };
  if (op.getPrefill()) {
    d.waitForLaunchBefore();
    d.allowNextLaunch();
  } else {
    // What the next launch does before it waits for this one may then run beside the launch before this one, too: scores
    // load page fields, which neither changes but for the token's own page.
    d.allowNextLaunch();
    // A row's inputs, and where its token goes, are known before the launch before has ended: nothing but an append, a
    // compaction or the choice of a victim changes it, and none of them comes just before an append to the same layer.
    Value active = d.cmp(arith::CmpIPredicate::ne, k.load(k.buffer(op.getActive()), {row}), d.i32(0));
    Value sequence = k.load(k.buffer(op.getSequences()), {row});
    e.head = d.minS(block, d.i32(kvHeads - 1));
    // Sequences of padding rows may be anything.
    Place place = Place::unpack(d.ifThenElse(
        active, [&] { return e.placeOf(sequence, k.load(e.layer["count"], {sequence, e.head})).pack(); },
        [&] {
          SmallVector<Value> none(5, d.i32(0));
          none.append(2, d.boolean(false));
          return none;
        }));
    for (std::optional<Rotation> *each : {&e.rotation, &rotation})
      if (*each)
        (*each)->locate(row);
    d.waitForLaunchBefore();
    append = [&, active, sequence, place] {
      d.ifThen(active, [&] { e.appendRow(row, sequence, place); });
    };
  }
  if (!query) {
    append();
    return success();
  }
  d.ifThenElse(
      d.lt(block, d.i32(kvHeads)),
      [&]() -> SmallVector<Value> {
        d.ifThen(d.lt(row, d.i32(parts)), append);
        return {};
      },
      [&]() -> SmallVector<Value> {
        Value head = d.sub(block, d.i32(kvHeads));
        Value end = d.select(d.lt(row, d.i32(rows)), d.i32(rotation->dim()), d.i32(0));
        d.loop(thread, end, d.i32(threads), [&](Value channel) {
          Value column = d.add(d.mul(head, d.i32(rotation->dim())), channel);
          k.store(rotation->entry(row, head, channel), k.results[0], {row, column});
        });
        return {};
      });
  return success();
}

const Template sparse::device::appendTemplate{whyNot, emit, /*waitsItself=*/true};
