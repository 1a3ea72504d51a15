//===-- ScoreSimt.cpp - Scores of pages by any policy's term, some lanes for each page ----------------------------===//
#include "passes/ToGPU/Templates/PageList.h"
#include "passes/ToGPU/Templates/RowShare.h"
#include "passes/ToGPU/Templates/ScoreChannels.h"
#include "passes/ToGPU/Templates/ScoreFields.h"
#include "passes/ToGPU/Templates/Templates.h"

#include <limits>

using namespace sparse;
using namespace sparse::device;

static constexpr int64_t kWarpsOfBlock = 4, kPagesOfWarp = 16;
/// Floats of queries that a lane may keep in registers.
static constexpr int64_t kMostFloats = 64;

static kvcache::FieldAttr fieldNamed(kvcache::LayoutAttr layout, StringRef name) {
  for (auto field : layout.getFields().getAsRange<kvcache::FieldAttr>())
    if (field.getName() == name)
      return field;
  return {};
}

std::string sparse::device::whyNotKeyLike(sparsity::ScoreOp op) {
  kvcache::LayoutAttr layout = op.getState().getType().getLayout();
  if (layout.getFieldsByChannel())
    return "the fields lie by channel";
  if (layout.getKeyDim() % 8 != 0)
    return "a key dimension of " + std::to_string(layout.getKeyDim()) + " is no multiple of 8";
  for (StringRef name : cast<sparsity::SelectionPolicyInterface>(op.getPolicy()).getScoreFields()) {
    kvcache::FieldAttr field = fieldNamed(layout, name);
    if (!field || field.getScope() != kvcache::Scope::Page || field.getType() != layout.getType() ||
        field.getShape().asArrayRef() != ArrayRef{layout.getKeyDim()})
      return "field '" + name.str() + "' has no entry like a key for each page";
  }
  unsigned bits = layout.getType().getIntOrFloatBitWidth();
  return bits == 16 || bits == 32 ? "" : "elements of " + std::to_string(bits) + " bits can't be read";
}

static std::string whyNot(plan::KernelOp kernel, sparsity::TargetAttr) {
  auto op = cast<sparsity::ScoreOp>(headOf(kernel));
  return op.getState().getType().getLayout().getFieldsByChannel() ? whyNotChannels(op) : whyNotKeyLike(op);
}

namespace {
struct PageScore {
  DeviceKernel &k;
  Device &d;
  LayerBuffers &layer;
  sparsity::SelectionPolicyInterface policy;
  RowShare share;
  int64_t groups, loads;
  bool inRegisters;
  Value row, head, kvHead, sequence;
  Buffer &query;
  SmallVector<Value> queries; // [query head][load], when in registers

  Value queryPart(int64_t group, int64_t load) {
    Value column = d.add(d.mul(d.add(d.mul(head, d.i32(groups)), d.i32(group)), d.i32(layer.layout.getKeyDim())),
                         share.channel(d, load));
    return loadRow(k, query, {row, column}, share.width);
  }
  void loadQueries() {
    for (int64_t g = 0; inRegisters && g < groups; ++g)
      for (int64_t j = 0; j < loads; ++j)
        queries.push_back(queryPart(g, j));
  }
  /// The score of `page`, in all lanes that share it.
  Value of(Value page);
};
} // namespace

Value PageScore::of(Value page) {
  SmallVector<SmallVector<Value>> fields(loads); // [load][field]
  for (int64_t j = 0; j < loads; ++j)
    for (StringRef name : policy.getScoreFields())
      fields[j].push_back(
          d.toF32(k.loadConstant(layer[name], {sequence, kvHead, page, share.channel(d, j)}, share.width)));
  Value score;
  for (int64_t g = 0; g < groups; ++g) {
    Value terms;
    for (int64_t j = 0; j < loads; ++j) {
      Value query = inRegisters ? queries[g * loads + j] : queryPart(g, j);
      Value term = policy.buildScoreTerm(d.b, d.loc, query, fields[j]);
      terms = terms ? d.addF(terms, term) : term;
    }
    Value own = d.warpSum(d.sumOf(terms), share.lanes);
    if (!score)
      score = own;
    else
      score = policy.isGroupSum() ? d.addF(score, own) : Value(arith::MaximumFOp::create(d.b, d.loc, score, own));
  }
  return score;
}

static LogicalResult emit(DeviceKernel &k) {
  Device &d = k.d;
  auto op = cast<sparsity::ScoreOp>(k.ops.front());
  LayerBuffers &layer = k.layer(op.getState());
  kvcache::LayoutAttr layout = layer.layout;
  if (layout.getFieldsByChannel())
    return emitScoreChannels(k);
  d.waitForLaunchBefore();
  d.allowNextLaunch();
  Buffer &scores = k.results[0], &query = k.buffer(op.getQuery()); // [T, Hs, pages]
  int64_t selecting = scores.size(1), pages = scores.size(2), dk = layout.getKeyDim();
  int64_t groups = query.size(1) / dk / selecting;
  RowShare share = RowShare::over({dk}, layout.getType());
  int64_t loads = share.loads(dk), ofWarp = std::max(kPagesOfWarp, share.rows), ofBlock = ofWarp * kWarpsOfBlock;
  k.grid = {static_cast<int64_t>(llvm::divideCeil(pages, ofBlock)), selecting, scores.size(0)};
  k.block = {kWarpsOfBlock * kWarp, 1, 1};

  Value head = d.blockId(1), row = d.blockId(2), kvHead = d.divU(head, selecting / layout.getKvHeads());
  Value sequence = k.load(k.buffer(op.getSequences()), {row}), used = pagesInUse(k, layer, sequence, kvHead);
  Value first = d.add(d.mul(d.blockId(0), d.i32(ofBlock)), d.mul(d.warp(), d.i32(ofWarp)));
  PageScore score{k,    d,   layer,  cast<sparsity::SelectionPolicyInterface>(op.getPolicy()),
                  share, groups, loads, groups * loads * share.width <= kMostFloats,
                  row,  head, kvHead, sequence,
                  query, {}};
  Value lowest = d.f32(-std::numeric_limits<double>::infinity());
  auto scorePages = [&]() -> SmallVector<Value> {
    score.loadQueries();
    for (int64_t i = 0; i < ofWarp; i += share.rows) {
      Value page = d.add(d.add(first, d.i32(i)), share.row(d));
      Value isUsed = d.lt(page, used);
      // Lanes past the end score page 0: shuffles need all of them.
      Value own = score.of(d.select(isUsed, page, d.i32(0)));
      Value writes = d.bitAnd(d.eq(d.remU(d.lane(), share.lanes), d.i32(0)), d.lt(page, d.i32(pages)));
      d.ifThen(writes, [&] { k.store(d.select(isUsed, own, lowest), scores, {row, head, page}); });
    }
    return {};
  };
  auto passBy = [&]() -> SmallVector<Value> {
    Value last = d.minS(d.add(first, d.i32(ofWarp)), d.i32(pages));
    d.loop(d.add(first, d.lane()), last, d.i32(kWarp), [&](Value page) { k.store(lowest, scores, {row, head, page}); });
    return {};
  };
  d.ifThenElse(d.lt(first, used), scorePages, passBy);
  return success();
}

const Template sparse::device::scoreSimtTemplate{whyNot, emit, /*waitsItself=*/true};
