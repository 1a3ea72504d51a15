//===-- Evaluation.cpp - A function under several concrete inputs -------------------------------------------------===//
#include "passes/Raise/Evaluation.h"

#include "dialects/ONNX/ONNX.h"
#include "passes/Raise/Evaluator.h"
#include "passes/Raise/WeightData.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/STLExtras.h"

#include <numeric>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

//===-- Inputs ----------------------------------------------------------------------------------------------------===//

bool Assignment::isToken(int64_t row, int64_t key) const {
  // Padding on the left and a hole, different in every row; the last key is always a token.
  return !padded || key + 1 == total() || (key >= row && (key + row) % 4 != 2);
}

int64_t Assignment::position(int64_t row, int64_t query) const {
  return scattered ? (row * 389 + query * 1009 + 1) % 6007 : past + query;
}

StringRef sparse::raise::inputName(func::FuncOp func, unsigned index) {
  if (auto name = func.getArgAttrOfType<StringAttr>(index, "onnx.name"))
    return name.getValue();
  if (auto name = dyn_cast<NameLoc>(func.getArgument(index).getLoc()))
    return name.getName().getValue();
  return {};
}

Input sparse::raise::inputKind(func::FuncOp func, unsigned index) {
  auto type = dyn_cast<RankedTensorType>(func.getArgument(index).getType());
  if (!type)
    return Input::Other;
  if (type.getRank() == 4 && isa<FloatType>(type.getElementType()))
    return Input::Past;
  StringRef name = inputName(func, index);
  if (type.getRank() != 2 || !type.getElementType().isInteger())
    return Input::Other;
  if (name == "position_ids")
    return Input::PositionIds;
  if (name == "attention_mask")
    return Input::AttentionMask;
  if (name == "input_ids")
    return Input::InputIds;
  // Any other name: token ids are what rows of a table are gathered by.
  for (Operation *user : func.getArgument(index).getUsers())
    if (auto gather = dyn_cast<onnx::GatherOp>(user);
        gather && gather.getIndices() == func.getArgument(index) && onnx::weightSymbolOf(gather.getData()))
      return Input::InputIds;
  return Input::Other;
}

static std::optional<HostTensor> makeInput(func::FuncOp func, unsigned index, const Assignment &a) {
  auto type = dyn_cast<RankedTensorType>(func.getArgument(index).getType());
  if (!type)
    return std::nullopt;
  SmallVector<int64_t> shape(type.getShape());
  auto fill = [&](ArrayRef<int64_t> extents) {
    for (auto [extent, assigned] : llvm::zip(shape, extents))
      if (ShapedType::isDynamic(extent))
        extent = assigned;
  };
  auto generate = [&](llvm::function_ref<int64_t(int64_t, int64_t)> element) {
    std::vector<int64_t> values;
    forEachIndex(shape, [&](ArrayRef<int64_t> i, int64_t) { values.push_back(element(i[0], i[1])); });
    return HostTensor::ofInts(shape, type.getElementType(), std::move(values));
  };
  switch (inputKind(func, index)) {
  case Input::InputIds:
    fill({a.batch, a.sequence});
    return HostTensor::ofShape(shape, type.getElementType());
  case Input::AttentionMask:
    fill({a.batch, a.total()});
    return generate([&](int64_t row, int64_t key) { return a.isToken(row, key); });
  case Input::PositionIds:
    fill({a.batch, a.sequence});
    return generate([&](int64_t row, int64_t query) { return a.position(row, query); });
  case Input::Past:
    if (type.isDynamicDim(1) || type.isDynamicDim(3))
      return std::nullopt;
    fill({a.batch, 0, a.past, 0});
    return HostTensor::ofShape(shape, type.getElementType());
  case Input::Other:
    if (!type.hasStaticShape() && type.getRank() >= 2)
      fill(SmallVector<int64_t>{a.batch, a.sequence});
    if (llvm::any_of(shape, ShapedType::isDynamic))
      return std::nullopt;
    return HostTensor::ofShape(shape, type.getElementType());
  }
  return std::nullopt;
}

//===-- Evaluation ------------------------------------------------------------------------------------------------===//

Evaluation::Evaluation(func::FuncOp func, int64_t maxContext) {
  runs = {
      {2, 5, 11},                                      // two plain runs,
      {3, 7, 13},                                      //
      {5, 3, 17, /*padded=*/true, /*scattered=*/true}, // padding and arbitrary positions,
      {1, 1, 19},                                      // a decode step,
      {1, 23, 0},                                      // a prompt,
      {1, 2, maxContext + 17},                         // far enough for every window and every switch of RoPE
  };
  valuesOf.resize(runs.size());
  for (auto [assignment, values] : llvm::zip(runs, valuesOf))
    run(func, assignment, values);
}

void Evaluation::run(func::FuncOp func, const Assignment &assignment, Values &values) {
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (auto input = makeInput(func, i, assignment))
      values[func.getArgument(i)] = std::move(*input);

  SymbolTableCollection symbols;
  for (Operation &op : func.getOps()) {
    if (auto constant = dyn_cast<onnx::ConstantOp>(op)) {
      values[constant.getResult()] = HostTensor::ofAttribute(constant.getValue());
      continue;
    }
    if (auto weight = dyn_cast<onnx::WeightOp>(op)) {
      // Every run reads the same elements.
      if (&values != &valuesOf.front()) {
        if (const HostTensor *first = get(weight.getResult(), 0))
          values[weight.getResult()] = *first;
      } else if (Operation *symbol = symbols.lookupNearestSymbolFrom(weight, weight.getSymbolAttr())) {
        values[weight.getResult()] = readInitializer(symbol);
      }
      continue;
    }
    if (op.getNumResults() == 0 || isa<onnx::NoValueOp, onnx::NodeOp>(op) ||
        op.getDialect() != func->getContext()->getLoadedDialect("onnx"))
      continue;
    SmallVector<const HostTensor *> operands;
    bool known = true;
    for (Value operand : op.getOperands()) {
      auto it = values.find(operand);
      operands.push_back(it == values.end() ? nullptr : &it->second);
      known &= it != values.end() || isa<NoneType>(operand.getType());
    }
    if (!known)
      continue;
    Results results = evaluate(&op, operands);
    for (auto [result, tensor] : llvm::zip(op.getResults(), results))
      if (tensor)
        values[result] = std::move(*tensor);
  }
}

const HostTensor *Evaluation::get(Value value, unsigned run) const {
  auto it = valuesOf[run].find(value);
  return it == valuesOf[run].end() ? nullptr : &it->second;
}

const HostTensor *Evaluation::constant(Value value) const {
  const HostTensor *first = get(value, 0);
  if (!first || !first->hasData())
    return nullptr;
  for (unsigned run = 1; run < runs.size(); ++run) {
    const HostTensor *other = get(value, run);
    if (!other || !other->hasData() || !first->sameAs(*other))
      return nullptr;
  }
  return first;
}

std::optional<double> Evaluation::constantScalar(Value value) const {
  const HostTensor *tensor = constant(value);
  if (!tensor || tensor->size() == 0)
    return std::nullopt;
  for (int64_t i = 1, e = tensor->size(); i < e; ++i)
    if (tensor->at(i) != tensor->at(0))
      return std::nullopt;
  return tensor->at(0);
}

std::optional<int64_t> Evaluation::rank(Value value) const {
  const HostTensor *tensor = get(value, 0);
  return tensor ? std::optional(tensor->rank()) : std::nullopt;
}

Extent Evaluation::extent(Value value, int64_t axis) const {
  auto holds = [&](llvm::function_ref<int64_t(const Assignment &)> expected) {
    for (unsigned run = 0; run < runs.size(); ++run) {
      const HostTensor *tensor = get(value, run);
      if (!tensor || axis >= tensor->rank() || tensor->shape[axis] != expected(runs[run]))
        return false;
    }
    return true;
  };
  const HostTensor *first = get(value, 0);
  if (!first || axis >= first->rank())
    return {};
  int64_t constant = first->shape[axis];
  if (holds([&](const Assignment &) { return constant; }))
    return {Extent::Constant, constant};
  if (holds([](const Assignment &a) { return a.batch; }))
    return {Extent::Batch};
  if (holds([](const Assignment &a) { return a.sequence; }))
    return {Extent::Sequence};
  if (holds([](const Assignment &a) { return a.past; }))
    return {Extent::Past};
  if (holds([](const Assignment &a) { return a.total(); }))
    return {Extent::Total};
  return {};
}

bool Evaluation::hasConstantExtent(Value value, int64_t axis, int64_t wanted) const {
  Extent actual = extent(value, axis);
  return actual.kind == Extent::Constant && actual.value == wanted;
}

RankedTensorType Evaluation::typeOf(Value value) const {
  const HostTensor *first = get(value, 0);
  if (!first || !isa<TensorType>(value.getType()))
    return {};
  SmallVector<int64_t> shape;
  for (int64_t axis = 0; axis < first->rank(); ++axis) {
    Extent actual = extent(value, axis);
    shape.push_back(actual.kind == Extent::Constant ? actual.value : ShapedType::kDynamic);
  }
  return RankedTensorType::get(shape, cast<TensorType>(value.getType()).getElementType());
}

//===-- Movements -------------------------------------------------------------------------------------------------===//

Value sparse::raise::movedFrom(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return {};
  if (isMovement(op))
    return op->getOperand(0);
  if (auto dropout = dyn_cast<onnx::DropoutOp>(op); dropout && value == dropout.getOutput())
    return dropout.getData();
  if (isa<onnx::CastOp, onnx::CastLikeOp>(op) && cast<TensorType>(op->getOperand(0).getType()).getElementType() ==
                                                     cast<TensorType>(value.getType()).getElementType())
    return op->getOperand(0);
  return {};
}

Value sparse::raise::rootOfMovements(Value value) {
  while (Value from = movedFrom(value))
    value = from;
  return value;
}

std::optional<HostTensor> Evaluation::orderOf(Value value, Value root, unsigned run) const {
  const HostTensor *tensor = get(root, run);
  if (!tensor || tensor->size() > kMaxElements)
    return std::nullopt;
  SmallVector<Value> path;
  for (; value != root; value = movedFrom(value)) {
    if (!value || !movedFrom(value))
      return std::nullopt;
    path.push_back(value);
  }
  std::vector<int64_t> positions(tensor->size());
  std::iota(positions.begin(), positions.end(), 0);
  HostTensor order = HostTensor::ofInts(tensor->shape, IntegerType::get(root.getContext(), 64), std::move(positions));
  for (Value step : llvm::reverse(path)) {
    Operation *op = step.getDefiningOp();
    if (!isMovement(op))
      continue;
    SmallVector<const HostTensor *> operands{&order};
    for (Value operand : op->getOperands().drop_front())
      operands.push_back(get(operand, run));
    for (auto [operand, known] : llvm::zip(op->getOperands(), operands))
      if (!known && !isa<NoneType>(operand.getType()))
        return std::nullopt;
    auto movement = movementOf(op, cast<OpResult>(step).getResultNumber(), operands);
    if (!movement)
      return std::nullopt;
    HostTensor next = applyMovement(*movement, order);
    if (!next.hasData())
      return std::nullopt;
    order = std::move(next);
  }
  return order;
}

namespace {
/// Evaluates what stands between a root and a value, once each.
class Substitution {
public:
  Substitution(const Evaluation &evaluation, Value root, const HostTensor &data, unsigned run)
      : evaluation(evaluation), root(root), run(run) {
    known[root] = data;
  }

  /// The new value; nothing when `value` doesn't depend on the root or can't be told.
  std::optional<HostTensor> get(Value value) {
    auto it = known.find(value);
    if (it != known.end())
      return it->second;
    std::optional<HostTensor> result = compute(value);
    known[value] = result;
    return result;
  }

private:
  std::optional<HostTensor> compute(Value value) {
    Operation *op = value.getDefiningOp(), *start = root.getDefiningOp();
    // What comes before the root can't depend on it.
    if (!op || op->getNumOperands() == 0 || (start && !start->isBeforeInBlock(op)))
      return std::nullopt;
    SmallVector<std::optional<HostTensor>> changed;
    bool depends = false;
    for (Value operand : op->getOperands()) {
      changed.push_back(get(operand));
      depends |= changed.back().has_value();
    }
    if (!depends)
      return std::nullopt;
    SmallVector<const HostTensor *> operands;
    for (auto [operand, tensor] : llvm::zip(op->getOperands(), changed)) {
      operands.push_back(tensor ? &*tensor : evaluation.get(operand, run));
      if (!operands.back() && !isa<NoneType>(operand.getType()))
        return std::nullopt;
    }
    return evaluate(op, operands)[cast<OpResult>(value).getResultNumber()];
  }

  const Evaluation &evaluation;
  Value root;
  unsigned run;
  llvm::DenseMap<Value, std::optional<HostTensor>> known;
};
} // namespace

std::optional<HostTensor> Evaluation::substitute(Value value, Value root, const HostTensor &data, unsigned run) const {
  auto result = Substitution(*this, root, data, run).get(value);
  if (!result || !result->hasData())
    return std::nullopt;
  return result;
}

bool Evaluation::isSameOrder(Value value, Value root) const {
  for (unsigned run = 0; run < kPlainRuns; ++run) {
    auto order = orderOf(value, root, run);
    if (!order || order->size() != get(root, run)->size())
      return false;
    for (int64_t i = 0, e = order->size(); i < e; ++i)
      if (order->intAt(i) != i)
        return false;
  }
  return true;
}
