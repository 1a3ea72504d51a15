//===-- Fuse.cpp - Kernel regions of an entry ---------------------------------------------------------------------===//
#include "passes/Fuse/PackWeights.h"
#include "passes/Passes.h"
#include "passes/ToGPU/OneLaunch.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"

namespace sparse {
#define GEN_PASS_DEF_FUSEPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

namespace {

/// Data types of ONNX (TensorProto.DataType).
constexpr int64_t kOnnxFloat16 = 10, kOnnxBFloat16 = 16;

/// Rows up to which a linear layer on a GPU takes the norm of its input into itself.
constexpr int64_t kMostRowsOfNorm = 2;

/// Ops that become one kernel, in program order.
struct Cluster {
  StringRef name;
  SmallVector<Operation *> ops;
};

/// Ops that stand outside every kernel.
bool isLeaf(Operation *op) { return isa<onnx::WeightOp, onnx::ConstantOp, onnx::NoValueOp, tensor::ExtractSliceOp>(op); }

/// Small constants and views: every kernel that reads one has its own.
bool isCopiedIntoKernels(Operation *op) { return isa_and_nonnull<onnx::ConstantOp, tensor::ExtractSliceOp>(op); }

bool isElementwise(Operation *op) {
  return isa<onnx::AddOp, onnx::SubOp, onnx::MulOp, onnx::DivOp, onnx::SwishOp, onnx::GeluOp, onnx::SigmoidOp,
             onnx::TanhOp, onnx::ReluOp, onnx::NegOp, onnx::ExpOp, onnx::CastOp>(op);
}

/// The name of the kernel that an op heads; it appears in plans and profiles.
StringRef kernelName(Operation *op) {
  if (isa<sparsity::LinearOp>(op))
    return "linear";
  if (isa<onnx::RMSNormalizationOp>(op))
    return "norm";
  if (isa<onnx::RotaryEmbeddingOp>(op))
    return "rope";
  if (isElementwise(op))
    return "elementwise";
  return op->getName().stripDialect();
}

class Fuse : public sparse::impl::FusePassBase<Fuse> {
public:
  using FusePassBase::FusePassBase;

  void runOnOperation() override {
    MLIRContext *context = &getContext();
    if (weightsType != "f32" && weightsType != "bf16") {
      getOperation().emitError() << "weights-dtype is '" << weightsType.getValue() << "'; it must be f32 or bf16";
      return signalPassFailure();
    }
    Type element = weightsType == "bf16" ? Type(BFloat16Type::get(context)) : Type(Float32Type::get(context));
    // A GPU's warp reads the weights of one output at a time: panels of width 1.
    onDevice = getOperation()->hasAttr("sparsity.target");
    WeightPacker packer(getOperation(), element, onDevice ? 1 : int64_t(panel));
    for (auto func : getOperation().getOps<func::FuncOp>()) {
      if (failed(packLinears(func, packer)))
        return signalPassFailure();
      if (onDevice && !element.isF32() && func->getAttrOfType<StringAttr>("plan.kind").getValue() == "prefill")
        narrowInputs(func, element);
      splitAttention(func);
      if (onDevice)
        findNearest(func);
      for (Cluster &cluster : findClusters(func))
        outline(cluster);
      SmallVector<Operation *> leaves;
      for (Operation &op : func.front())
        if (isLeaf(&op) && llvm::all_of(op.getUsers(), [](Operation *user) { return isLeaf(user); }))
          leaves.push_back(&op);
      for (Operation *op : llvm::reverse(leaves))
        op->erase();
    }
    if (auto facts = getOperation()->getAttrOfType<DictionaryAttr>("sparsity.model")) {
      NamedAttrList all(facts);
      all.set("weights_dtype", StringAttr::get(context, weightsType));
      getOperation()->setAttr("sparsity.model", all.getDictionary(context));
    }
  }

private:
  bool onDevice = false;
  void narrowInputs(func::FuncOp func, Type element);
  LogicalResult packLinears(func::FuncOp func, WeightPacker &packer);
  void mergeLinears(func::FuncOp func, WeightPacker &packer);
  void splitAttention(func::FuncOp func);
  sparsity::MassOp massOf(sparsity::AttendOp attend);
  void findNearest(func::FuncOp func);
  sparsity::NearestPartOp nearestOf(sparsity::AttendPartOp attend);
  int64_t segmentLength(kvcache::LayoutAttr layout);
  int64_t segmentCount(int64_t rows, kvcache::LayoutAttr layout);
  std::vector<Cluster> findClusters(func::FuncOp func);
  SmallVector<Operation *> stepOf(sparsity::CombineOp combine);
  bool isTwin(const Cluster &other, const Cluster &cluster, Value operand);
  SmallVector<onnx::RotaryEmbeddingOp> ropesOf(kvcache::AppendOp append);
  bool joinsNorm(onnx::RMSNormalizationOp norm, sparsity::LinearOp linear);
  SmallVector<std::pair<onnx::RMSNormalizationOp, sparsity::LinearOp>> normsToJoin;
  void outline(Cluster &cluster);
};

} // namespace

/// Linear layers of one input whose outputs no elementwise op reads (queries, keys and values) become one layer; its
/// parts are slices, which the kernels that read them take into themselves.
void Fuse::mergeLinears(func::FuncOp func, WeightPacker &packer) {
  llvm::MapVector<Value, SmallVector<onnx::MatMulOp>> byInput;
  for (auto op : func.front().getOps<onnx::MatMulOp>())
    if (llvm::none_of(op->getUsers(), [](Operation *user) { return isElementwise(user) || isa<func::ReturnOp>(user); }))
      byInput[op.getLhs()].push_back(op);
  for (auto &[input, ops] : byInput) {
    if (ops.size() < 2)
      continue;
    SmallVector<Value> weights;
    for (onnx::MatMulOp op : ops)
      weights.push_back(op.getRhs());
    auto [symbol, type] = packer.packTogether(weights);
    if (!symbol)
      continue;
    // Every weight is read at the top of the entry, so the first layer's place suits all.
    OpBuilder b(ops.front());
    Location loc = b.getFusedLoc(llvm::map_to_vector(ops, [](onnx::MatMulOp op) { return op.getLoc(); }));
    int64_t rows = cast<RankedTensorType>(input.getType()).getDimSize(0);
    Value packed = onnx::WeightOp::create(b, loc, type, symbol);
    auto out = RankedTensorType::get({rows, type.getDimSize(0) * type.getDimSize(2)}, b.getF32Type());
    Value all = sparsity::LinearOp::create(b, loc, out, input, packed);
    int64_t offset = 0;
    for (onnx::MatMulOp op : ops) {
      auto part = cast<RankedTensorType>(op.getResult().getType());
      auto attrs = [&](int64_t x, int64_t y) {
        return SmallVector<OpFoldResult>{b.getIndexAttr(x), b.getIndexAttr(y)};
      };
      Value slice = tensor::ExtractSliceOp::create(b, op.getLoc(), part, all, attrs(0, offset),
                                                   attrs(rows, part.getDimSize(1)), attrs(1, 1));
      offset += part.getDimSize(1);
      op.replaceAllUsesWith(slice);
    }
    for (onnx::MatMulOp op : ops)
      op->erase();
  }
}

/// A GEMM library multiplies operands of one type: the inputs of a prompt's linear layers become the weights'.
void Fuse::narrowInputs(func::FuncOp func, Type element) {
  DenseMap<Value, Value> narrow;
  for (auto linear : func.front().getOps<sparsity::LinearOp>()) {
    Value x = linear.getX(), &cast = narrow[x];
    if (!cast) {
      OpBuilder b(linear);
      b.setInsertionPointAfterValue(x);
      auto type = llvm::cast<RankedTensorType>(x.getType());
      cast = onnx::CastOp::create(b, linear.getLoc(), RankedTensorType::get(type.getShape(), element), x,
                                  b.getI64IntegerAttr(element.isBF16() ? kOnnxBFloat16 : kOnnxFloat16),
                                  b.getI64IntegerAttr(1));
    }
    linear.getXMutable().assign(cast);
  }
}

/// MatMul with a weight and the embedding's Gather read packed weights.
LogicalResult Fuse::packLinears(func::FuncOp func, WeightPacker &packer) {
  mergeLinears(func, packer);
  SmallVector<Operation *> ops;
  for (Operation &op : func.front())
    if (isa<onnx::MatMulOp, onnx::GatherOp>(op))
      ops.push_back(&op);
  for (Operation *op : ops) {
    OpBuilder b(op);
    bool isEmbedding = isa<onnx::GatherOp>(op);
    Value weight = op->getOperand(isEmbedding ? 0 : 1);
    auto [symbol, type] = packer.pack(weight, /*transposed=*/isEmbedding);
    if (!symbol)
      return op->emitError() << "reads " << (isEmbedding ? "a table" : "a right operand")
                             << " that is no 2-D weight; only products with weights are supported here";
    Value packed = onnx::WeightOp::create(b, weight.getLoc(), type, symbol);
    Operation *linear;
    if (isEmbedding)
      linear = sparsity::EmbedOp::create(b, op->getLoc(), op->getResult(0).getType(), packed, op->getOperand(1));
    else
      linear = sparsity::LinearOp::create(b, op->getLoc(), op->getResult(0).getType(), op->getOperand(0), packed);
    linear->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    op->replaceAllUsesWith(linear);
    op->erase();
  }
  return success();
}

/// Pages of one segment: at most 64 segments of the longest context, since tasks past the end of a list are not free. It
/// follows from the model's context and the page alone, not from a layer's caps or budget: dense and sparse layers must
/// fold their pages alike.
int64_t Fuse::segmentLength(kvcache::LayoutAttr layout) {
  int64_t pages = layout.getMaxPages();
  if (auto facts = getOperation()->getAttrOfType<DictionaryAttr>("sparsity.model"))
    if (auto context = facts.getAs<IntegerAttr>("max_context"))
      pages = llvm::divideCeil(context.getInt(), layout.getPage());
  return std::max<int64_t>(segment, llvm::divideCeil(pages, 64));
}

/// Equal segments of every list, on a GPU: as many blocks as the device has multiprocessors. A function of the entry
/// alone, so that dense and sparse layers fold alike; the same for all entries if batches must be. 0 on a CPU: segments of a
/// fixed length.
int64_t Fuse::segmentCount(int64_t rows, kvcache::LayoutAttr layout) {
  auto target = getOperation()->getAttrOfType<sparsity::TargetAttr>("sparsity.target");
  if (!target)
    return 0;
  int64_t lists = (batchInvariant ? 1 : rows) * layout.getKvHeads(), processors = target.getMultiprocessors();
  if (!target.getClusters())
    return std::clamp<int64_t>(llvm::bit_floor(static_cast<uint64_t>(std::max<int64_t>(processors / lists, 1))), 1, 64);
  // Segments of one list are the blocks of a cluster. Multiprocessors come in groups that a cluster must not leave, so that
  // larger clusters leave about a fifth of them unused.
  int64_t large = processors * 4 / 5 / lists;
  return large > 2 ? std::min<int64_t>(large, 8) : std::clamp<int64_t>(processors / lists, 1, 2);
}

/// Decode attention is split over segments of its page lists: one query alone would leave most threads idle.
void Fuse::splitAttention(func::FuncOp func) {
  SmallVector<sparsity::AttendOp> attends;
  for (auto attend : func.front().getOps<sparsity::AttendOp>())
    if (!attend.getPrefill())
      attends.push_back(attend);
  for (sparsity::AttendOp op : attends) {
    OpBuilder b(op);
    kvcache::LayoutAttr layout = op.getState().getType().getLayout();
    auto query = cast<RankedTensorType>(op.getQuery().getType());
    int64_t rows = query.getDimSize(0), heads = query.getDimSize(1) / layout.getKeyDim();
    int64_t selecting = layout.getKvHeads(), pages = layout.getMaxPages();
    if (op.getIndices()) {
      ArrayRef<int64_t> shape = cast<RankedTensorType>(op.getIndices().getType()).getShape();
      selecting = shape[1];
      pages = shape[2];
    }
    int64_t pagesOfSegment = 0, segments = segmentCount(rows, layout), groups = heads / selecting;
    if (segments == 0) {
      pagesOfSegment = segmentLength(layout);
      segments = llvm::divideCeil(pages, pagesOfSegment);
    }
    auto perQuery = RankedTensorType::get({rows, selecting, segments, groups}, b.getF32Type());
    auto values = RankedTensorType::get({rows, selecting, segments, groups * layout.getValueDim()}, b.getF32Type());
    auto length = b.getI64IntegerAttr(pagesOfSegment);
    SmallVector<Type> types{values, perQuery, perQuery};
    sparsity::MassOp mass = massOf(op);
    if (mass) {
      int64_t slots = sparsity::AttendPartOp::slotsOfSegment(layout, pagesOfSegment, segments);
      // Of queries, or of slots where a key lies beside the other channels: as they come out of the products.
      int64_t outer = layout.getKeysBySlot() ? slots : groups, inner = layout.getKeysBySlot() ? groups : slots;
      types.push_back(RankedTensorType::get({rows, selecting, segments, outer, inner}, b.getF32Type()));
    }
    auto part = sparsity::AttendPartOp::create(b, op.getLoc(), types, op.getQuery(),
                                               op.getState(), op.getPositions(), op.getSequences(), op.getIndices(),
                                               op.getCount(), length, op.getScaleAttr(), op.getSoftcapAttr(),
                                               op.getWindowAttr());
    auto combine = sparsity::CombineOp::create(b, op.getLoc(), op.getResultTypes(), part.getOut(), part.getTop(),
                                               part.getSum(), op.getState(), op.getPositions(), op.getSequences(),
                                               op.getCount(), length);
    op->replaceAllUsesWith(combine);
    op->erase();
    if (!mass)
      continue;
    b.setInsertionPoint(mass);
    Value received = sparsity::MassOfScoresOp::create(b, mass.getLoc(), mass.getMass().getType(),
                                                      part.getScores().front(), mass.getLse(), mass.getState(),
                                                      mass.getPositions(), mass.getSequences(), mass.getActive(), length);
    mass.replaceAllUsesWith(received);
    mass.erase();
  }
}

/// What slots receive from this attention, where a dense list's scores tell it.
sparsity::MassOp Fuse::massOf(sparsity::AttendOp attend) {
  for (Operation *user : attend.getLse().getUsers()) {
    auto mass = dyn_cast<sparsity::MassOp>(user);
    if (mass && !mass.getIndices() && !attend.getIndices() && mass.getQuery() == attend.getQuery() &&
        mass.getState() == attend.getState() && mass.getScale() == attend.getScale() &&
        mass.getSoftcap() == attend.getSoftcap() && mass.getWindow() == attend.getWindow())
      return mass;
  }
  return {};
}

/// Attention over all pages looks for what likely victims would merge into, where tensor cores can.
void Fuse::findNearest(func::FuncOp func) {
  SmallVector<sparsity::MatchOp> matches(func.front().getOps<sparsity::MatchOp>());
  for (sparsity::MatchOp match : matches) {
    auto policy = cast<sparsity::MergePolicyInterface>(match.getPolicy());
    auto compress = match.getEvicted().getDefiningOp<kvcache::CompressOp>();
    if (policy.getTargets() != sparsity::MergeTargets::Nearest || !compress)
      continue;
    for (Operation *reader : compress.getState().getUsers()) {
      auto attend = dyn_cast<sparsity::AttendPartOp>(reader);
      if (!attend || attend.getIndices())
        continue;
      auto parts = cast<RankedTensorType>(attend.getTop().getType()); // [T, Hk, S, G]
      if (!device::whyNotNearest(attend.getState().getType().getLayout(), parts.getDimSize(3)).empty())
        continue;
      match.getNearestMutable().assign(nearestOf(attend).getResults());
    }
  }
}

/// The one beside an attention.
sparsity::NearestPartOp Fuse::nearestOf(sparsity::AttendPartOp attend) {
  if (auto known = dyn_cast<sparsity::NearestPartOp>(attend->getNextNode()))
    return known;
  OpBuilder b(attend);
  b.setInsertionPointAfter(attend);
  ArrayRef<int64_t> shape = cast<RankedTensorType>(attend.getTop().getType()).getShape();
  int64_t likely = attend.getState().getType().getLayout().getLikely();
  auto slots = [&](Type type) { return RankedTensorType::get({shape[0], shape[1], shape[2], likely}, type); };
  Type i32 = b.getI32Type();
  SmallVector<Type> types{RankedTensorType::get({shape[0], shape[1], likely}, i32), slots(b.getF32Type()), slots(i32),
                          slots(i32)};
  return sparsity::NearestPartOp::create(b, attend.getLoc(), types, attend.getState(), attend.getSequences(),
                                         attend.getSegmentAttr());
}

/// Elementwise ops join the kernel of the operand that is computed last, when that kernel is a linear layer (or
/// elementwise itself) and nobody else reads the operand: then the kernel's only result is the op's.
std::vector<Cluster> Fuse::findClusters(func::FuncOp func) {
  std::vector<Cluster> clusters;
  DenseMap<Operation *, unsigned> clusterOf;
  // A prompt's linear layers stay alone, for a GEMM library.
  bool joinsLinear = func->getAttrOfType<StringAttr>("plan.kind").getValue() != "prefill";
  auto join = [&](unsigned from, unsigned to) {
    for (Operation *op : clusters[from].ops)
      clusterOf[op] = to;
    clusters[to].ops.insert(clusters[to].ops.begin(), clusters[from].ops.begin(), clusters[from].ops.end());
    clusters[from].ops.clear();
  };
  for (Operation &op : func.front().without_terminator()) {
    if (isLeaf(&op))
      continue;
    if (isElementwise(&op)) {
      int64_t latest = -1;
      Value joined;
      for (Value operand : op.getOperands()) {
        Operation *def = operand.getDefiningOp();
        if (!def || !clusterOf.contains(def))
          continue;
        if (static_cast<int64_t>(clusterOf[def]) > latest) {
          latest = clusterOf[def];
          joined = operand;
        }
      }
      if (joined && llvm::all_of(joined.getUsers(), [&](Operation *user) { return user == &op; }) &&
          ((joinsLinear && clusters[latest].name == "linear") || clusters[latest].name == "elementwise" ||
           (onDevice && isa<onnx::CastOp>(op) && clusters[latest].name == "norm"))) {
        clusters[latest].ops.push_back(&op);
        clusterOf[&op] = latest;
        if (onDevice)
          for (Value operand : op.getOperands())
            if (Operation *def = operand.getDefiningOp(); def && clusterOf.contains(def))
              if (isTwin(clusters[clusterOf[def]], clusters[latest], operand))
                join(clusterOf[def], latest);
        continue;
      }
    }
    unsigned own = clusters.size();
    clusters.push_back({kernelName(&op), {&op}});
    clusterOf[&op] = own;
    if (!onDevice)
      continue;
    if (isElementwise(&op))
      for (Value operand : op.getOperands()) {
        Operation *def = operand.getDefiningOp();
        if (def && operand.hasOneUse() && clusterOf.contains(def) && clusterOf[def] != own &&
            clusters[clusterOf[def]].name == "elementwise")
          join(clusterOf[def], own);
      }
    if (auto combine = dyn_cast<sparsity::CombineOp>(op))
      for (Operation *before : stepOf(combine)) {
        join(clusterOf[before], own);
        clusters[own].name = "select_attend";
      }
    if (auto compress = dyn_cast<kvcache::CompressOp>(op))
      for (Value mass : compress.getMass())
        if (auto before = mass.getDefiningOp<sparsity::MassOfScoresOp>(); before && mass.hasOneUse())
          join(clusterOf[before], own);
    if (isa<sparsity::NearestPartOp>(op)) {
      unsigned attend = clusterOf[op.getPrevNode()];
      clusters[own].name = clusters[attend].name;
      join(attend, own);
    }
    if (auto append = dyn_cast<kvcache::AppendOp>(op))
      for (onnx::RotaryEmbeddingOp rope : ropesOf(append))
        join(clusterOf[rope], own);
    if (auto linear = dyn_cast<sparsity::LinearOp>(op); linear && joinsLinear)
      if (auto norm = linear.getX().getDefiningOp<onnx::RMSNormalizationOp>(); norm && joinsNorm(norm, linear))
        normsToJoin.push_back({norm, linear});
  }
  // Last: twins have found each other.
  for (auto [norm, linear] : normsToJoin) {
    unsigned target = clusterOf[linear];
    auto isTarget = [&](Operation *user) { return clusterOf.lookup(user) == target; };
    if (llvm::all_of(norm->getUsers(), isTarget) && clusterOf[norm] != target)
      join(clusterOf[norm], target);
  }
  normsToJoin.clear();
  llvm::erase_if(clusters, [](const Cluster &cluster) { return cluster.ops.empty(); });
  return clusters;
}

/// Whether `other` is a linear layer with the input and the width of that of `cluster`, which alone reads `operand`, the
/// result of `other`: gate and up of one product.
bool Fuse::isTwin(const Cluster &other, const Cluster &cluster, Value operand) {
  if (&other == &cluster || other.name != "linear" || cluster.name != "linear" || !operand.hasOneUse())
    return false;
  auto first = dyn_cast<sparsity::LinearOp>(other.ops.front()), second = dyn_cast<sparsity::LinearOp>(cluster.ops.front());
  return first && second && first.getX() == second.getX() && first.getWeight().getType() == second.getWeight().getType() &&
         llvm::is_contained(other.ops, operand.getDefiningOp());
}

/// Attention and selection before a combination, when the device can do all in one launch and nobody else reads what is
/// between them. The last first.
SmallVector<Operation *> Fuse::stepOf(sparsity::CombineOp combine) {
  auto attend = combine.getParts().getDefiningOp<sparsity::AttendPartOp>();
  auto select = attend && attend.getIndices() ? attend.getIndices().getDefiningOp<sparsity::SelectOp>()
                                              : sparsity::SelectOp();
  auto target = getOperation()->getAttrOfType<sparsity::TargetAttr>("sparsity.target");
  if (!oneLaunch || !select || !device::whyNotOneLaunch(select, attend, target).empty())
    return {};
  auto isInside = [&](Operation *user) { return user == attend || user == combine; };
  if (!llvm::all_of(attend->getUsers(), isInside) || !llvm::all_of(select->getUsers(), isInside))
    return {};
  return {attend, select};
}

/// The rotations of an append's key and of the query that reads its state, when nobody else needs them before it.
SmallVector<onnx::RotaryEmbeddingOp> Fuse::ropesOf(kvcache::AppendOp append) {
  SmallVector<onnx::RotaryEmbeddingOp> ropes;
  auto key = append.getKey().getDefiningOp<onnx::RotaryEmbeddingOp>();
  if (!key || !key.getResult().hasOneUse())
    return ropes;
  for (Operation *user : append.getResult().getUsers()) {
    Value query;
    if (auto attend = dyn_cast<sparsity::AttendOp>(user))
      query = attend.getQuery();
    else if (auto attend = dyn_cast<sparsity::AttendPartOp>(user))
      query = attend.getQuery();
    auto rope = query ? query.getDefiningOp<onnx::RotaryEmbeddingOp>() : onnx::RotaryEmbeddingOp();
    if (rope && rope.getCosCache() == key.getCosCache() && rope.getSinCache() == key.getSinCache() &&
        rope.getPositionIds() == key.getPositionIds() && rope.getInterleaved() == key.getInterleaved() &&
        rope->isBeforeInBlock(append) &&
        llvm::all_of(rope->getUsers(), [&](Operation *reader) { return append->isBeforeInBlock(reader); }))
      ropes = {rope};
  }
  ropes.push_back(key);
  return ropes;
}

/// A linear layer of few rows normalises its input itself: every block reads all of it anyway.
bool Fuse::joinsNorm(onnx::RMSNormalizationOp norm, sparsity::LinearOp linear) {
  auto x = cast<RankedTensorType>(linear.getX().getType());
  return x.getDimSize(0) <= kMostRowsOfNorm &&
         cast<RankedTensorType>(norm.getScale().getType()).getDimSize(0) == x.getDimSize(1);
}

void Fuse::outline(Cluster &cluster) {
  Operation *last = cluster.ops.back();
  OpBuilder b(last);
  SetVector<Value> inputs;
  llvm::SmallPtrSet<Operation *, 8> inside(cluster.ops.begin(), cluster.ops.end());
  SetVector<Operation *> copied;
  for (Operation *op : cluster.ops)
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (isCopiedIntoKernels(def)) {
        copied.insert(def);
        for (Value source : def->getOperands())
          inputs.insert(source);
      } else if (!inside.contains(def) && !isa<NoneType>(operand.getType())) {
        inputs.insert(operand);
      }
    }
  // What is read outside, and all that the last op gives.
  SmallVector<Value> outputs;
  for (Operation *op : cluster.ops)
    for (Value result : op->getResults())
      if (op == last || llvm::any_of(result.getUsers(), [&](Operation *user) { return !inside.contains(user); }))
        outputs.push_back(result);
  auto kernel = plan::KernelOp::create(b, last->getLoc(), ValueRange(outputs).getTypes(), b.getStringAttr(cluster.name),
                                       inputs.getArrayRef(), b.getDenseI64ArrayAttr({}));
  Block *block = b.createBlock(&kernel.getBody());
  IRMapping map;
  for (Value input : inputs)
    map.map(input, block->addArgument(input.getType(), input.getLoc()));
  for (Operation *op : copied)
    b.clone(*op, map);
  for (Operation *op : cluster.ops)
    b.clone(*op, map);
  SmallVector<Value> results;
  for (Value output : outputs)
    results.push_back(map.lookup(output));
  plan::YieldOp::create(b, last->getLoc(), results);
  for (auto [output, result] : llvm::zip(outputs, kernel.getResults()))
    output.replaceUsesWithIf(result, [&](OpOperand &use) { return !inside.contains(use.getOwner()); });
  for (Operation *op : llvm::reverse(cluster.ops))
    op->erase();
}
