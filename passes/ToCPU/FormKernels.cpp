//===-- FormKernels.cpp - Entries to plans, kernel regions to functions on buffers --------------------------------===//
#include "passes/Passes.h"
#include "passes/ToCPU/ArenaPlanner.h"
#include "passes/ToLinalg/Loops.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/StringMap.h"

namespace sparse {
#define GEN_PASS_DEF_FORMKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

namespace {

/// One outlined kernel: its symbol, its tasks, and which results are in place.
struct Kernel {
  FlatSymbolRefAttr symbol;
  int64_t grid = 1;
};

/// Where an SSA value of an entry lives.
struct Buffer {
  MemRefType type;
  Value planned;          // the plan.* buffer op's result, or
  int64_t arenaValue = -1; // an index into the arena's values
};

MemRefType identityMemRef(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return MemRefType::get(tensor.getShape(), tensor.getElementType());
}

int64_t bytesOf(MemRefType type) { return type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8); }

class FormKernels : public sparse::impl::FormKernelsPassBase<FormKernels> {
public:
  using FormKernelsPassBase::FormKernelsPassBase;

  void runOnOperation() override {
    for (auto func : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>()))
      if (func->hasAttr("plan.kind") && failed(formEntry(func)))
        return signalPassFailure();
    formed.clear();
    for (func::FuncOp func : entries)
      func.erase();
  }

private:
  LogicalResult formEntry(func::FuncOp func);
  FailureOr<Kernel> kernelFor(plan::KernelOp op, ArrayRef<MemRefType> inputs);
  FailureOr<Kernel> outline(plan::KernelOp op, ArrayRef<MemRefType> inputs);

  /// A kernel that was formed, and the region it came from.
  struct Formed {
    plan::KernelOp op;
    SmallVector<MemRefType> inputs;
    Kernel kernel;
  };
  llvm::DenseMap<llvm::hash_code, SmallVector<Formed>> formed; // by hash of the region
  SmallVector<func::FuncOp> entries;                           // erased at the end: `formed` points into them
  llvm::StringMap<unsigned> names;
};

} // namespace

LogicalResult FormKernels::formEntry(func::FuncOp func) {
  OpBuilder b(func);
  Location loc = func.getLoc();
  StringAttr name = func.getSymNameAttr();
  func.setSymName((name.getValue() + ".formed").str()); // it stays until all kernels are known
  auto entry = plan::EntryOp::create(b, loc, name, func->getAttrOfType<StringAttr>("plan.kind"),
                                     func->getAttrOfType<IntegerAttr>("plan.rows"), b.getI64IntegerAttr(0));
  Block *body = b.createBlock(&entry.getBody());
  b.setInsertionPointToStart(body);

  DenseMap<Value, Buffer> buffers;
  for (BlockArgument arg : func.getArguments()) {
    auto name = func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), "plan.name");
    auto layout = func.getArgAttrOfType<kvcache::LayoutAttr>(arg.getArgNumber(), "plan.layout");
    Buffer buffer{identityMemRef(arg.getType()), {}};
    if (layout) {
      auto layer = func.getArgAttrOfType<IntegerAttr>(arg.getArgNumber(), "plan.layer");
      for (auto &component : layout.getComponents())
        if (component.name == name.getValue())
          buffer.type = layout.getMemRefType(component);
      buffer.planned = plan::StateOp::create(b, loc, buffer.type, layer, name);
    } else {
      buffer.planned = plan::InputOp::create(b, loc, buffer.type, name);
    }
    buffers[arg] = buffer;
  }
  auto ret = cast<func::ReturnOp>(func.front().getTerminator());
  for (auto [index, value] : llvm::enumerate(ret.getOperands())) {
    if (!value.getDefiningOp<plan::KernelOp>() || buffers.contains(value))
      return func.emitError("returns a value that no kernel computes");
    Buffer buffer{identityMemRef(value.getType()), {}};
    buffer.planned =
        plan::OutputOp::create(b, loc, buffer.type, func.getResultAttrOfType<StringAttr>(index, "plan.name"));
    buffers[value] = buffer;
  }

  // Values between kernels, with the steps they live from and to.
  struct Launch {
    Kernel kernel; // no symbol: a GEMM of the library

    SmallVector<Value> values; // SSA values whose buffers are the arguments
    Location loc;
  };
  SmallVector<Launch> launches;
  SmallVector<ArenaValue> arena;
  for (Operation &op : func.front().without_terminator()) {
    if (auto weight = dyn_cast<onnx::WeightOp>(op)) {
      Buffer buffer{identityMemRef(weight.getType()), {}};
      buffer.planned = plan::WeightOp::create(b, loc, buffer.type, weight.getSymbolAttr());
      buffers[weight] = buffer;
      continue;
    }
    auto kernel = dyn_cast<plan::KernelOp>(op);
    if (!kernel)
      return op.emitError("is left outside every kernel");
    int64_t step = launches.size();
    SmallVector<MemRefType> types;
    Launch launch{{}, {}, op.getLoc()};
    for (Value input : kernel.getInputs()) {
      Buffer buffer = buffers.lookup(input);
      types.push_back(buffer.type);
      launch.values.push_back(input);
      if (buffer.arenaValue >= 0)
        arena[buffer.arenaValue].last = step;
    }
    for (auto [result, tie] : llvm::zip(kernel.getResults(), kernel.getTies())) {
      if (tie >= 0) {
        // A copy: inserting into the map moves what a reference into it names.
        Buffer tied = buffers.lookup(kernel.getInputs()[tie]);
        buffers[result] = tied;
        continue;
      }
      if (!buffers.contains(result)) {
        Buffer buffer{identityMemRef(result.getType()), {}, static_cast<int64_t>(arena.size())};
        arena.push_back({bytesOf(buffer.type), step, step});
        buffers[result] = buffer;
      }
      launch.values.push_back(result);
    }
    auto config = kernel->getAttrOfType<sparsity::LoweringConfigAttr>("lowering_config");
    if (!config || config.getStrategy() != sparsity::Strategy::Library) {
      FailureOr<Kernel> formed = kernelFor(kernel, types);
      if (failed(formed))
        return failure();
      launch.kernel = *formed;
    }
    launches.push_back(launch);
  }

  entry.setArenaBytes(planArena(arena));
  SmallVector<MemRefType> arenaTypes(arena.size());
  for (auto &[value, buffer] : buffers)
    if (buffer.arenaValue >= 0)
      arenaTypes[buffer.arenaValue] = buffer.type;
  SmallVector<Value> arenaOps;
  for (auto [type, value] : llvm::zip(arenaTypes, arena))
    arenaOps.push_back(plan::ArenaOp::create(b, loc, type, b.getI64IntegerAttr(value.offset)));
  for (Launch &launch : launches) {
    SmallVector<Value> args;
    for (Value value : launch.values) {
      Buffer &buffer = buffers[value];
      args.push_back(buffer.arenaValue >= 0 ? arenaOps[buffer.arenaValue] : buffer.planned);
    }
    if (launch.kernel.symbol)
      plan::LaunchOp::create(b, launch.loc, launch.kernel.symbol, b.getI64IntegerAttr(launch.kernel.grid), args,
                             plan::GeometryAttr());
    else
      plan::GemmOp::create(b, launch.loc, args[0], args[1], args[2], UnitAttr());
  }
  entries.push_back(func);
  return success();
}

/// The loop whose iterations are the tasks of a kernel that changes its operands in place (Emitter::tasks), if a task
/// needs nothing but the kernel's buffers: what goes into the loop is in them already, or not yet of interest.
static scf::ForOp taskLoop(plan::KernelOp op) {
  auto loops = op.getBlock()->getOps<scf::ForOp>();
  auto found = llvm::find_if(loops, [](scf::ForOp loop) { return loop->hasAttr(lowering::kTasksAttr); });
  if (found == loops.end())
    return {};
  scf::ForOp loop = *found;
  if (llvm::any_of(loop->getUsers(), [](Operation *user) { return !isa<plan::YieldOp>(user); }))
    return {};
  for (auto [value, tie] : llvm::zip(op.getBlock()->getTerminator()->getOperands(), op.getTies())) {
    OpOperand *init = value.getDefiningOp() == loop ? loop.getTiedLoopInit(cast<OpResult>(value)) : nullptr;
    auto operand = dyn_cast<BlockArgument>(init ? init->get() : value);
    bool inPlace = operand && static_cast<int64_t>(operand.getArgNumber()) == tie;
    bool isFresh = tie < 0 && init && init->get().getDefiningOp<tensor::EmptyOp>();
    if (!inPlace && !isFresh)
      return {};
  }
  return loop;
}

static Value writableTensor(OpBuilder &b, Location loc, Type type, Value buffer) {
  return bufferization::ToTensorOp::create(b, loc, type, buffer, /*restrict=*/true, /*writable=*/true);
}

static void cloneBody(OpBuilder &b, plan::KernelOp op, Operation *except, IRMapping &map) {
  for (Operation &inner : op.getBlock()->without_terminator())
    if (&inner != except)
      b.clone(inner, map);
}

/// One iteration of the loop over the tasks, on the buffers of the results.
static void cloneTask(OpBuilder &b, plan::KernelOp op, scf::ForOp loop, Value task, ArrayRef<Value> destinations,
                      IRMapping &map) {
  map.map(loop.getInductionVar(), task);
  for (auto [arg, init] : llvm::zip(loop.getRegionIterArgs(), loop.getInits()))
    map.map(arg, map.lookup(init));
  for (auto [value, tie, buffer] :
       llvm::zip(op.getBlock()->getTerminator()->getOperands(), op.getTies(), destinations))
    if (tie < 0)
      map.map(loop.getTiedLoopRegionIterArg(cast<OpResult>(value)),
              writableTensor(b, op.getLoc(), value.getType(), buffer));
  for (Operation &inner : loop.getBody()->without_terminator())
    b.clone(inner, map);
  for (auto [result, value] : llvm::zip(loop.getResults(), loop.getYieldedValues()))
    map.map(result, map.lookupOrDefault(value));
}

/// The kernel with this body and these buffers; layers share it.
FailureOr<Kernel> FormKernels::kernelFor(plan::KernelOp op, ArrayRef<MemRefType> inputs) {
  // Operands are compared by their types alone (`inputs`, which also have the layout of pools).
  llvm::hash_code hash = llvm::hash_combine(op.getNameAttr(), op.getTiesAttr(), op->getDiscardableAttrDictionary());
  op.getBody().walk([&](Operation *inner) {
    hash = llvm::hash_combine(hash, inner->getName(), inner->getRawDictionaryAttrs(), inner->hashProperties());
    for (Type type : inner->getResultTypes())
      hash = llvm::hash_combine(hash, type);
  });
  SmallVector<Formed> &candidates = formed[hash];
  for (Formed &other : candidates)
    if (ArrayRef<MemRefType>(other.inputs) == inputs && other.op.getTiesAttr() == op.getTiesAttr() &&
        other.op.getNameAttr() == op.getNameAttr() &&
        other.op->getDiscardableAttrDictionary() == op->getDiscardableAttrDictionary() &&
        OperationEquivalence::isRegionEquivalentTo(&other.op.getBody(), &op.getBody(),
                                                   OperationEquivalence::IgnoreLocations))
      return other.kernel;
  FailureOr<Kernel> kernel = outline(op, inputs);
  if (succeeded(kernel))
    candidates.push_back({op, SmallVector<MemRefType>(inputs), *kernel});
  return kernel;
}

FailureOr<Kernel> FormKernels::outline(plan::KernelOp op, ArrayRef<MemRefType> inputs) {
  OpBuilder b(&getContext());
  b.setInsertionPointToEnd(getOperation().getBody());
  Location loc = op.getLoc();
  SmallVector<Type> types(inputs.begin(), inputs.end());
  for (auto [result, tie] : llvm::zip(op.getResults(), op.getTies()))
    if (tie < 0)
      types.push_back(identityMemRef(result.getType()));
  types.push_back(b.getIndexType());
  std::string name = (op.getName() + "_" + Twine(names[op.getName()]++)).str();
  auto func = func::FuncOp::create(b, loc, name, b.getFunctionType(types, {}));
  func->setAttr("plan.kernel", b.getUnitAttr());
  if (auto config = op->getAttr("lowering_config"))
    func->setAttr("lowering_config", config);
  Block *entry = func.addEntryBlock();
  b.setInsertionPointToStart(entry);

  // Operands as tensors; those with a tie may be written in place.
  IRMapping map;
  for (auto [index, arg] : llvm::enumerate(op.getBlock()->getArguments())) {
    bool writable = llvm::is_contained(op.getTies(), static_cast<int64_t>(index));
    map.map(arg, bufferization::ToTensorOp::create(b, loc, arg.getType(), entry->getArgument(index),
                                                   /*restrict=*/true, writable));
  }
  SmallVector<Value> destinations; // one memref per result
  unsigned nextOut = inputs.size();
  for (int64_t tie : op.getTies())
    destinations.push_back(entry->getArgument(tie >= 0 ? tie : nextOut++));
  Value task = entry->getArguments().back();

  Operation *yield = op.getBlock()->getTerminator();
  scf::ForallOp forall;
  for (Operation &inner : op.getBlock()->without_terminator())
    if (auto found = dyn_cast<scf::ForallOp>(inner))
      forall = found;
  bool parallel = forall && forall.getResults() == yield->getOperands();
  int64_t grid = 1;
  SmallVector<Value> results;
  if (scf::ForOp loop = taskLoop(op)) {
    cloneBody(b, op, loop, map);
    cloneTask(b, op, loop, task, destinations, map);
    grid = *getConstantIntValue(loop.getUpperBound());
  } else if (!parallel) {
    cloneBody(b, op, nullptr, map);
  } else {
    cloneBody(b, op, forall, map);
    // The task index, split into the loop's induction variables.
    SmallVector<int64_t> bounds;
    for (OpFoldResult bound : forall.getMixedUpperBound())
      bounds.push_back(*getConstantIntValue(bound));
    Value rest = task;
    SmallVector<Value> ivs(bounds.size());
    for (int64_t dim = bounds.size() - 1; dim >= 0; --dim) {
      Value bound = arith::ConstantIndexOp::create(b, loc, bounds[dim]);
      ivs[dim] = dim == 0 ? rest : Value(arith::RemUIOp::create(b, loc, rest, bound));
      if (dim != 0)
        rest = arith::DivUIOp::create(b, loc, rest, bound);
      grid *= bounds[dim];
    }
    map.map(forall.getInductionVars(), ivs);
    for (auto [arg, destination] : llvm::zip(forall.getRegionOutArgs(), destinations))
      map.map(arg, writableTensor(b, loc, arg.getType(), destination));
    for (Operation &inner : forall.getBody()->without_terminator())
      b.clone(inner, map);
    for (Operation &inner : forall.getTerminator().getYieldingOps()) {
      auto insert = cast<tensor::ParallelInsertSliceOp>(inner);
      auto mapped = [&](SmallVector<OpFoldResult> values) {
        for (OpFoldResult &value : values)
          if (auto v = dyn_cast<Value>(value))
            value = map.lookupOrDefault(v);
        return values;
      };
      results.push_back(tensor::InsertSliceOp::create(
          b, loc, map.lookup(insert.getSource()), map.lookup(insert.getDest()), mapped(insert.getMixedOffsets()),
          mapped(insert.getMixedSizes()), mapped(insert.getMixedStrides())));
    }
  }
  if (!parallel)
    for (Value value : yield->getOperands())
      results.push_back(map.lookup(value));
  for (auto [value, destination] : llvm::zip(results, destinations))
    bufferization::MaterializeInDestinationOp::create(b, loc, Type(), value, destination, /*restrict=*/true,
                                                      /*writable=*/true);
  func::ReturnOp::create(b, loc);
  return Kernel{FlatSymbolRefAttr::get(func), grid};
}
