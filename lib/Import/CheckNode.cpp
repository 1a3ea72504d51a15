//===-- CheckNode.cpp - Nodes that can never run ------------------------------------------------------------------===//
#include "lib/Import/CheckNode.h"
#include "dialects/ONNX/ONNX.h"

#include "llvm/ADT/SmallSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace sparse;

using Integers = std::optional<SmallVector<int64_t>>;

/// The elements of a constant integer operand. Large ones (weights) are not looked at.
static Integers integersOf(Value value) {
  auto constant = value.getDefiningOp<onnx::ConstantOp>();
  auto elements = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValueAttr()) : DenseIntElementsAttr();
  if (!elements)
    return std::nullopt;
  SmallVector<int64_t> values;
  for (const APInt &element : elements.getValues<APInt>())
    values.push_back(element.getSExtValue());
  return values;
}

/// The shape of `value` if it is certain: that of a constant, a weight or an input of the model.
static std::optional<ArrayRef<int64_t>> certainShape(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  Operation *producer = value.getDefiningOp();
  if (!type || (producer && !isa<onnx::ConstantOp, onnx::WeightOp>(producer)))
    return std::nullopt;
  return type.getShape();
}

static InFlightDiagnostic error(Operation *op) {
  return emitError(op->getLoc()) << "is a " << op->getName().stripDialect() << " ";
}

static LogicalResult check(onnx::ReshapeOp op) {
  Integers shape = integersOf(op.getShape());
  if (!shape)
    return success();
  auto data = certainShape(op.getData());
  unsigned inferred = 0;
  for (auto [i, dim] : llvm::enumerate(*shape)) {
    if (dim < -1)
      return error(op) << "to a dimension of " << dim << "; it must be at least -1";
    if (dim == -1 && ++inferred > 1)
      return error(op) << "with more than one dimension of -1; at most one can be inferred";
    if (dim == 0 && op.getAllowzero() == 0 && data && i >= data->size())
      return error(op) << "that copies dimension " << i << " of an input of rank " << data->size();
  }
  if (inferred && op.getAllowzero() && llvm::is_contained(*shape, 0))
    return error(op) << "with allowzero and dimensions of both 0 and -1, which is ambiguous";
  return success();
}

static LogicalResult check(onnx::GatherOp op) {
  auto data = certainShape(op.getData());
  if (!data)
    return success();
  int64_t rank = data->size(), axis = op.getAxis();
  if (axis < -rank || axis >= rank)
    return error(op) << "along axis " << axis << " of an input of rank " << rank;
  int64_t size = (*data)[axis < 0 ? axis + rank : axis];
  Integers indices = integersOf(op.getIndices());
  if (!indices || ShapedType::isDynamic(size))
    return success();
  for (int64_t index : *indices)
    if (index < -size || index >= size)
      return error(op) << "with index " << index << " into a dimension of " << size;
  return success();
}

static LogicalResult check(onnx::SliceOp op) {
  Integers steps = integersOf(op.getSteps());
  if (!steps)
    return success();
  for (int64_t step : *steps)
    if (step == 0 || step == std::numeric_limits<int64_t>::min())
      return error(op) << "with a step of " << step;
  return success();
}

static LogicalResult check(onnx::ExpandOp op) {
  Integers target = integersOf(op.getShape());
  auto input = certainShape(op.getInput());
  if (!target)
    return success();
  for (auto [i, dim] : llvm::enumerate(llvm::reverse(*target))) {
    if (dim < 0)
      return error(op) << "to a dimension of " << dim;
    if (!input || i >= input->size())
      continue;
    int64_t from = (*input)[input->size() - 1 - i];
    if (!ShapedType::isDynamic(from) && from != dim && from != 1 && dim != 1)
      return error(op) << "of a dimension of " << from << " to " << dim;
  }
  return success();
}

static LogicalResult check(onnx::TransposeOp op) {
  if (!op.getPermAttr())
    return success();
  ArrayRef<int64_t> perm = op.getPermAttr().asArrayRef();
  llvm::SmallSet<int64_t, 8> seen;
  int64_t rank = perm.size();
  for (int64_t axis : perm)
    if (axis < 0 || axis >= rank || !seen.insert(axis).second)
      return error(op) << "whose perm is no permutation";
  if (auto shape = certainShape(op.getInput()); shape && static_cast<int64_t>(shape->size()) != rank)
    return error(op) << "of " << rank << " dimensions of an input of rank " << shape->size();
  return success();
}

LogicalResult sparse::import::checkNode(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<onnx::ReshapeOp, onnx::GatherOp, onnx::SliceOp, onnx::ExpandOp, onnx::TransposeOp>(
          [](auto typed) { return check(typed); })
      .Default([](Operation *) { return success(); });
}
