//===-- WeightRecipes.cpp - Movements of weights become recipes ---------------------------------------------------===//
#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Movement.h"
#include "passes/Raise/Rewriting.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

Value sparse::raise::makeRecipe(OpBuilder &builder, Location loc, SymbolTable &symbols, Value weight,
                                ArrayRef<Attribute> steps, StringRef suffix, RankedTensorType type) {
  FlatSymbolRefAttr symbol = onnx::weightSymbolOf(weight);
  SmallVector<Attribute> sources{symbol}, all;
  // Steps on a recipe extend it.
  if (auto base = symbols.lookup<onnx::DerivedOp>(symbol.getValue())) {
    sources.assign(base.getSources().begin(), base.getSources().end());
    all.assign(base.getSteps().begin(), base.getSteps().end());
  }
  all.append(steps.begin(), steps.end());
  return makeDerived(builder, loc, symbols, (symbol.getValue() + suffix).str(), sources, all, type);
}

namespace {
/// Slices along axes, given the movement of a part of a tensor of shape `from`; none when it skips or turns elements.
SmallVector<Attribute> contiguousPart(MLIRContext *context, const Movement &part, ArrayRef<int64_t> from) {
  SmallVector<int64_t> first(from.size(), 0), last, strides = computeSuffixProduct(from);
  for (int64_t extent : part.shape)
    last.push_back(extent - 1);
  // With step one, the first and the last element are as far apart in the whole as in the part.
  int64_t start = part.source(first);
  if (part.source(last) - start != linearize(last, strides))
    return {};
  SmallVector<Attribute> steps;
  for (auto [axis, offset] : llvm::enumerate(delinearize(start, strides)))
    if (part.shape[axis] != from[axis])
      steps.push_back(onnx::SliceStepAttr::get(context, axis, offset, part.shape[axis]));
  return steps;
}

/// The steps that do to a weight what `op` does to produce result `index`; none when no step does.
SmallVector<Attribute> stepsOf(const Evaluation &evaluation, Operation *op, unsigned index) {
  MLIRContext *context = op->getContext();
  Builder builder(context);
  auto from = cast<RankedTensorType>(op->getOperand(0).getType());
  const HostTensor *to = evaluation.get(op->getResult(index), 0);
  if (!to)
    return {};
  return llvm::TypeSwitch<Operation *, SmallVector<Attribute>>(op)
      .Case([&](onnx::TransposeOp op) -> SmallVector<Attribute> {
        SmallVector<int64_t> perm;
        if (op.getPerm())
          perm.assign(op.getPerm()->begin(), op.getPerm()->end());
        else
          perm = llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, from.getRank())));
        return {onnx::TransposeStepAttr::get(context, builder.getDenseI64ArrayAttr(perm))};
      })
      .Case<onnx::ReshapeOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::FlattenOp>(
          [&](Operation *) -> SmallVector<Attribute> {
            return {onnx::ReshapeStepAttr::get(context, builder.getDenseI64ArrayAttr(to->shape))};
          })
      .Case([&](onnx::CastOp op) -> SmallVector<Attribute> {
        return {onnx::CastStepAttr::get(context, getElementTypeOrSelf(op.getResult()))};
      })
      .Case<onnx::SliceOp, onnx::SplitOp>([&](Operation *op) -> SmallVector<Attribute> {
        SmallVector<const HostTensor *> operands;
        for (Value operand : op->getOperands())
          operands.push_back(evaluation.get(operand, 0));
        auto movement = movementOf(op, index, operands);
        return movement && to->size() > 0 ? contiguousPart(context, *movement, from.getShape())
                                          : SmallVector<Attribute>();
      })
      .Default([](Operation *) { return SmallVector<Attribute>(); });
}
} // namespace

/// Weights joined along an axis.
static void foldConcat(onnx::ConcatOp op, const Evaluation &evaluation, SymbolTable &symbols) {
  const HostTensor *whole = evaluation.get(op.getResult(), 0);
  SmallVector<Attribute> sources;
  for (Value input : op.getInputs())
    sources.push_back(onnx::weightSymbolOf(input));
  if (!whole || llvm::is_contained(sources, Attribute()))
    return;
  int64_t axis = op.getAxis();
  OpBuilder builder(op);
  auto step = onnx::ConcatStepAttr::get(op.getContext(), axis < 0 ? axis + whole->rank() : axis);
  auto type = RankedTensorType::get(whole->shape, getElementTypeOrSelf(op.getResult()));
  std::string name = (cast<FlatSymbolRefAttr>(sources.front()).getValue() + ".joined").str();
  op.getResult().replaceAllUsesWith(makeDerived(builder, op.getLoc(), symbols, name, sources, Attribute(step), type));
}

void sparse::raise::foldWeightMovements(func::FuncOp func, SymbolTable &symbols) {
  Evaluation evaluation(func);
  for (Operation &op : llvm::make_early_inc_range(func.getOps())) {
    if (auto concat = dyn_cast<onnx::ConcatOp>(op)) {
      foldConcat(concat, evaluation, symbols);
      continue;
    }
    if (op.getNumOperands() == 0 || !onnx::weightSymbolOf(op.getOperand(0)))
      continue;
    OpBuilder builder(&op);
    for (OpResult result : op.getResults()) {
      SmallVector<Attribute> steps = stepsOf(evaluation, &op, result.getResultNumber());
      if (steps.empty() || result.use_empty())
        continue;
      auto type = RankedTensorType::get(evaluation.get(result, 0)->shape, getElementTypeOrSelf(result));
      StringRef suffix = isa<onnx::TransposeOp>(op) ? ".t" : isa<onnx::CastOp>(op) ? ".cast" : ".part";
      result.replaceAllUsesWith(makeRecipe(builder, op.getLoc(), symbols, op.getOperand(0), steps, suffix, type));
    }
  }
  cleanUp(func);
}
