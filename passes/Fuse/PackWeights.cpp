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
  if (type.getElementType() != elementType)
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
    builder.setInsertionPointAfter(symbols.lookup(symbol.getAttr()));
    std::string stem =
        sources.empty() ? symbol.getValue().str() : cast<FlatSymbolRefAttr>(sources[0]).getValue().str();
    auto op = onnx::DerivedOp::create(builder, weight.getLoc(), stem + ".packed", sources, stepsAttr, packed);
    name = symbols.insert(op);
  }
  return {FlatSymbolRefAttr::get(name), packed};
}
