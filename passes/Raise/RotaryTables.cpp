//===-- RotaryTables.cpp - Cosine and sine tables of rotary embeddings --------------------------------------------===//
#include "passes/Raise/RotaryTables.h"

#include "passes/Raise/WeightData.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

/// The run whose positions are 0, 1, 2, …: its second position shows the frequencies, its first the scale.
static unsigned promptRun(const Evaluation &evaluation) {
  for (auto [run, a] : llvm::enumerate(evaluation.assignments()))
    if (a.past == 0 && a.sequence > 1 && !a.scattered && !a.padded)
      return run;
  llvm_unreachable("the evaluation has a run for a prompt");
}

static bool hasPositionIds(func::FuncOp func) {
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (inputKind(func, i) == Input::PositionIds)
      return true;
  return false;
}

//===-- Tables in the graph ---------------------------------------------------------------------------------------===//

/// The weight that `value` reads a leading part of (rows up to some length), or reads whole.
static Value tableBehind(Value value) {
  while (!onnx::weightSymbolOf(value)) {
    auto slice = value.getDefiningOp<onnx::SliceOp>();
    if (!slice)
      return {};
    value = slice.getData();
  }
  return value;
}

/// Whether columns i and i + half are equal.
static bool repeatsColumns(const HostTensor &table, int64_t half) {
  if (!table.hasData())
    return false;
  for (int64_t row = 0; row < table.shape[0]; ++row)
    for (int64_t i = 0; i < half; ++i)
      if (table.at(row * 2 * half + i) != table.at(row * 2 * half + half + i))
        return false;
  return true;
}

Value RotaryTables::gatheredTable(OpBuilder &builder, const Rotation &rotation, Value value) {
  // The gathered rows, with axes of size one around them.
  Value rows = value;
  while (rows && !rows.getDefiningOp<onnx::GatherOp>())
    rows = movedFrom(rows);
  auto gather = rows ? rows.getDefiningOp<onnx::GatherOp>() : onnx::GatherOp();
  if (!gather || gather.getAxis() != 0 || !evaluation.isSameOrder(value, rows))
    return {};
  Value positions = rootOfMovements(gather.getIndices());
  auto argument = dyn_cast<BlockArgument>(positions);
  if (!argument || inputKind(func, argument.getArgNumber()) != Input::PositionIds ||
      !evaluation.isSameOrder(gather.getIndices(), positions))
    return {};
  Value table = tableBehind(gather.getData());
  auto type = table ? dyn_cast<RankedTensorType>(table.getType()) : RankedTensorType();
  if (!type || type.getRank() != 2)
    return {};
  if (type.getDimSize(1) == rotation.half && !rotation.repeated)
    return table;
  Operation *symbol = symbols.lookup(onnx::weightSymbolOf(table).getValue());
  if (type.getDimSize(1) != 2 * rotation.half || !rotation.repeated ||
      !repeatsColumns(readInitializer(symbol, /*evenIfLarge=*/true), rotation.half))
    return {};
  auto step = onnx::SliceStepAttr::get(builder.getContext(), 1, 0, rotation.half);
  return makeRecipe(builder, rotation.op->getLoc(), symbols, table, step, ".half",
                    RankedTensorType::get({type.getDimSize(0), rotation.half}, type.getElementType()));
}

//===-- Computed tables -------------------------------------------------------------------------------------------===//

/// The nearest Cos before `value`.
static onnx::CosOp cosineBehind(Value value) {
  SmallVector<Value> work{value};
  llvm::DenseSet<Value> seen;
  while (!work.empty()) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op)
      continue;
    if (auto cosine = dyn_cast<onnx::CosOp>(op))
      return cosine;
    for (Value operand : op->getOperands())
      if (seen.insert(operand).second)
        work.push_back(operand);
  }
  return {};
}

FailureOr<RotaryTables::Frequencies> RotaryTables::frequencies(const Rotation &rotation) {
  auto refuse = [&](const Twine &reason) -> FailureOr<Frequencies> {
    return rotation.op->emitError("this rotary embedding ") << reason;
  };
  unsigned run = promptRun(evaluation);
  onnx::CosOp cosine = cosineBehind(rotation.cos);
  const HostTensor *values = evaluation.get(rotation.cos, run);
  const HostTensor *angles = cosine ? evaluation.get(cosine.getInput(), run) : nullptr;
  if (!values || !values->hasData() || !angles || !angles->hasData())
    return refuse("takes cosines that are neither rows of a table weight nor computed from positions alone");
  auto at = [&](const HostTensor &tensor, int64_t position, int64_t i) {
    return tensor.at(broadcastOffset(tensor.shape, rotation.index(0, position, i)));
  };

  Frequencies result;
  // At position 0 every cosine is one.
  result.scale = at(*values, 0, 0);
  if (!(result.scale > 0))
    return refuse("does not start at angle zero for position 0");

  // Number the cosines, and see which of them arrive.
  std::vector<double> numbers(angles->size());
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = static_cast<double>(i);
  auto arrived =
      evaluation.substitute(rotation.cos, cosine.getResult(),
                            HostTensor::ofFloats(angles->shape, angles->elementType, std::move(numbers)), run);
  if (!arrived)
    return refuse("takes cosines that are computed from more than an angle");
  for (int64_t i = 0; i < rotation.half; ++i) {
    int64_t from = std::llround(at(*arrived, 1, i) / result.scale);
    if (from < 0 || from >= angles->size())
      return refuse("takes cosines that are computed from more than an angle");
    result.inverse.push_back(static_cast<float>(angles->at(from)));
  }
  return result;
}

LogicalResult RotaryTables::check(const Rotation &rotation, const Frequencies &frequencies) {
  bool given = hasPositionIds(func);
  int64_t columns = rotation.half * (rotation.repeated ? 2 : 1);
  for (auto [run, a] : llvm::enumerate(evaluation.assignments())) {
    const HostTensor *cosines = evaluation.get(rotation.cos, run), *sines = evaluation.get(rotation.sin, run);
    // Positions counted from a padded mask are another matter: padding is not part of canonical form.
    if (a.padded && !given)
      continue;
    if (!cosines || !cosines->hasData() || !sines || !sines->hasData())
      return rotation.op->emitError("this rotary embedding takes cosines and sines that are not computed from "
                                    "positions alone");
    for (int64_t row = 0; row < a.batch; ++row)
      for (int64_t query = 0; query < a.sequence; ++query)
        for (int64_t i = 0; i < columns; ++i) {
          SmallVector<int64_t> index = rotation.index(row, query, i);
          double cosine = cosines->at(broadcastOffset(cosines->shape, index));
          double sine = sines->at(broadcastOffset(sines->shape, index));
          auto isAngle = [&](int64_t position) {
            float angle = static_cast<float>(position) * frequencies.inverse[i % rotation.half];
            double tolerance = 4e-6 * frequencies.scale;
            return std::fabs(cosine - frequencies.scale * std::cos(angle)) <= tolerance &&
                   std::fabs(sine - frequencies.scale * std::sin(angle)) <= tolerance;
          };
          // A graph may count positions itself although it takes position_ids.
          if (isAngle(a.position(row, query)) || isAngle(a.past + query))
            continue;
          return rotation.op->emitError("this rotary embedding follows no fixed table: at position ")
                 << a.position(row, query) << " with " << a.past << " past tokens, pair " << i % rotation.half
                 << " is turned by another angle than "
                 << "position times " << frequencies.inverse[i % rotation.half]
                 << "; scalings that depend on the length are not supported";
        }
  }
  return success();
}

Value RotaryTables::derivedTable(OpBuilder &builder, const Rotation &rotation, const Frequencies &frequencies,
                                 bool isSine) {
  MLIRContext *context = builder.getContext();
  auto step = onnx::RopeTableStepAttr::get(context, isSine ? onnx::RopeFn::Sin : onnx::RopeFn::Cos,
                                           builder.getDenseF32ArrayAttr(frequencies.inverse),
                                           builder.getF32FloatAttr(frequencies.scale));
  auto type = RankedTensorType::get({maxContext, rotation.half}, getElementTypeOrSelf(rotation.cos));
  return makeDerived(builder, rotation.op->getLoc(), symbols, isSine ? "rope.sin" : "rope.cos", {}, Attribute(step),
                     type);
}

FailureOr<RotaryTables::Tables> RotaryTables::get(OpBuilder &builder, const Rotation &rotation) {
  Value cosTable = gatheredTable(builder, rotation, rotation.cos);
  Value sinTable = cosTable ? gatheredTable(builder, rotation, rotation.sin) : Value();
  if (sinTable)
    return Tables{cosTable, sinTable};
  FailureOr<Frequencies> found = frequencies(rotation);
  if (failed(found) || failed(check(rotation, *found)))
    return failure();
  return Tables{derivedTable(builder, rotation, *found, /*isSine=*/false),
                derivedTable(builder, rotation, *found, /*isSine=*/true)};
}
