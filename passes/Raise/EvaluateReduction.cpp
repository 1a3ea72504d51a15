//===-- EvaluateReduction.cpp - Reductions of the evaluator -------------------------------------------------------===//
#include "dialects/ONNX/ONNX.h"
#include "passes/Raise/Evaluator.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

#include <limits>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
struct Reduction {
  bool keepdims, nothingWhenEmpty;
  double init;
  std::function<double(double, double)> combine;
  bool mean = false;
};

template <typename OpTy>
Reduction make(OpTy op, double init, std::function<double(double, double)> combine, bool mean = false) {
  return {op.getKeepdims() != 0, op.getNoopWithEmptyAxes() != 0, init, std::move(combine), mean};
}

std::optional<Reduction> reductionOf(Operation *op) {
  auto sum = [](double a, double b) { return a + b; };
  double infinity = std::numeric_limits<double>::infinity();
  return llvm::TypeSwitch<Operation *, std::optional<Reduction>>(op)
      .Case([&](onnx::ReduceMeanOp op) { return make(op, 0, sum, /*mean=*/true); })
      .Case([&](onnx::ReduceSumOp op) { return make(op, 0, sum); })
      .Case(
          [&](onnx::ReduceMaxOp op) { return make(op, -infinity, [](double a, double b) { return std::max(a, b); }); })
      .Case([&](onnx::ReduceMinOp op) { return make(op, infinity, [](double a, double b) { return std::min(a, b); }); })
      .Default([](Operation *) { return std::nullopt; });
}
} // namespace

std::optional<HostTensor> sparse::raise::evaluateReduction(Operation *op, ArrayRef<const HostTensor *> operands) {
  std::optional<Reduction> reduction = reductionOf(op);
  if (!reduction)
    return std::nullopt;
  const HostTensor &data = *operands[0];
  SmallVector<bool> reduced(data.rank(), false);
  const HostTensor *axes = operands[1];
  if (axes && !axes->hasData())
    return std::nullopt;
  if (!axes || axes->size() == 0)
    reduced.assign(data.rank(), !reduction->nothingWhenEmpty);
  for (int64_t i = 0, e = axes ? axes->size() : 0; i < e; ++i) {
    int64_t axis = fromFront(axes->intAt(i), data.rank());
    if (axis < 0 || axis >= data.rank())
      return std::nullopt;
    reduced[axis] = true;
  }

  SmallVector<int64_t> kept, shape;
  for (int64_t axis = 0; axis < data.rank(); ++axis) {
    kept.push_back(reduced[axis] ? 1 : data.shape[axis]);
    if (!reduced[axis] || reduction->keepdims)
      shape.push_back(kept.back());
  }
  HostTensor result = HostTensor::ofShape(shape, data.elementType);
  if (!data.hasData() || data.size() > kMaxElements)
    return result;
  std::vector<double> values(result.size(), reduction->init);
  forEachIndex(data.shape, [&](ArrayRef<int64_t> index, int64_t position) {
    double &value = values[broadcastOffset(kept, index)];
    value = reduction->combine(value, data.at(position));
  });
  if (reduction->mean)
    for (double &value : values)
      value /= static_cast<double>(data.size()) / static_cast<double>(result.size());
  if (data.isFloat())
    return HostTensor::ofFloats(shape, data.elementType, std::move(values));
  std::vector<int64_t> ints;
  for (double value : values)
    ints.push_back(toInteger(value));
  return HostTensor::ofInts(shape, data.elementType, std::move(ints));
}
