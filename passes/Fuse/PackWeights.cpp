//===-- PackWeights.cpp - Recipes of packed weights ---------------------------------------------------------------===//
#include "passes/Fuse/PackWeights.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace sparse;

/// Appends a transpose, or removes the one it undoes.
static void transpose(SmallVectorImpl<Attribute> &steps, Builder &b) {
  auto swap = onnx::TransposeStepAttr::get(b.getContext(), b.getDenseI64ArrayAttr({1, 0}));
  if (!steps.empty() && steps.back() == swap)
    steps.pop_back();
  else
    steps.push_back(swap);
}

std::pair<FlatSymbolRefAttr, RankedTensorType> WeightPacker::pack(Value weight, bool transposed) {
  FlatSymbolRefAttr symbol = onnx::weightSymbolOf(weight);
  auto type = dyn_cast<RankedTensorType>(weight.getType());
  if (!symbol || !type || type.getRank() != 2)
    return {};
  Builder b(module.getContext());
  // Recipes are flattened to the initializer, so that equal ones compare equal.
  ArrayAttr sources = b.getArrayAttr({symbol});
  SmallVector<Attribute> steps;
  while (sources.size() == 1) {
    auto derived = symbols.lookup<onnx::DerivedOp>(cast<FlatSymbolRefAttr>(sources[0]).getAttr());
    if (!derived)
      break;
    steps.insert(steps.begin(), derived.getSteps().begin(), derived.getSteps().end());
    sources = derived.getSources();
  }
  int64_t k = type.getDimSize(0), n = type.getDimSize(1);
  if (transposed) {
    std::swap(k, n);
    transpose(steps, b);
  }
  StringRef stem = sources.empty() ? symbol.getValue() : cast<FlatSymbolRefAttr>(sources[0]).getValue();
  return make(weight.getLoc(), stem, symbol.getAttr(), sources, steps, k, n, type.getElementType());
}

std::pair<FlatSymbolRefAttr, RankedTensorType> WeightPacker::packTogether(ArrayRef<Value> weights) {
  Builder b(module.getContext());
  SmallVector<Attribute> sources;
  int64_t columns = 0;
  auto first = cast<RankedTensorType>(weights[0].getType());
  for (Value weight : weights) {
    FlatSymbolRefAttr symbol = onnx::weightSymbolOf(weight);
    auto type = dyn_cast<RankedTensorType>(weight.getType());
    if (!symbol || !type || type.getRank() != 2 || type.getDimSize(0) != first.getDimSize(0) ||
        type.getElementType() != first.getElementType())
      return {};
    sources.push_back(symbol);
    columns += type.getDimSize(1);
  }
  auto last = cast<FlatSymbolRefAttr>(sources.back());
  return make(weights[0].getLoc(), cast<FlatSymbolRefAttr>(sources[0]).getValue(), last.getAttr(),
              b.getArrayAttr(sources), {onnx::ConcatStepAttr::get(b.getContext(), /*axis=*/1)}, first.getDimSize(0),
              columns, first.getElementType());
}

/// The recipe `sources`, `steps`, then cast and pack of a [k, n] weight; made once.
std::pair<FlatSymbolRefAttr, RankedTensorType> WeightPacker::make(Location loc, StringRef stem, StringAttr after,
                                                                  ArrayAttr sources, SmallVector<Attribute> steps,
                                                                  int64_t k, int64_t n, Type from) {
  Builder b(module.getContext());
  if (from != elementType)
    steps.push_back(onnx::CastStepAttr::get(b.getContext(), elementType));
  int64_t panel = widestPanel;
  while (n % panel != 0)
    --panel;
  steps.push_back(onnx::PackStepAttr::get(b.getContext(), panel));
  auto packed = RankedTensorType::get({n / panel, k, panel}, elementType);
  ArrayAttr stepsAttr = b.getArrayAttr(steps);
  StringAttr &name = made[b.getArrayAttr({sources, stepsAttr})];
  if (!name) {
    OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
    // After the symbol it reads, for the reader's sake.
    builder.setInsertionPointAfter(symbols.lookup(after));
    // An artifact may hold both forms.
    StringRef form = widestPanel == 1 ? ".rows" : ".packed";
    auto op = onnx::DerivedOp::create(builder, loc, (stem + form).str(), sources, stepsAttr, packed);
    name = symbols.insert(op);
  }
  return {FlatSymbolRefAttr::get(name), packed};
}
