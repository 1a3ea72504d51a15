//===-- HostTensor.cpp - Concrete tensors of the evaluator --------------------------------------------------------===//
#include "passes/Raise/HostTensor.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace sparse::raise;

int64_t HostTensor::size() const { return elementCount(shape); }

HostTensor HostTensor::ofShape(ArrayRef<int64_t> shape, Type elementType) {
  return {SmallVector<int64_t>(shape), elementType, nullptr, nullptr};
}

HostTensor HostTensor::ofInts(ArrayRef<int64_t> shape, Type elementType, std::vector<int64_t> values) {
  if (elementType.isInteger(1))
    for (int64_t &value : values)
      value = value != 0;
  HostTensor tensor = ofShape(shape, elementType);
  tensor.ints = std::make_shared<std::vector<int64_t>>(std::move(values));
  return tensor;
}

HostTensor HostTensor::ofFloats(ArrayRef<int64_t> shape, Type elementType, std::vector<double> values) {
  for (double &value : values)
    value = roundTo(elementType, value);
  HostTensor tensor = ofShape(shape, elementType);
  tensor.floats = std::make_shared<std::vector<double>>(std::move(values));
  return tensor;
}

HostTensor HostTensor::ofAttribute(ElementsAttr attribute) {
  auto type = cast<ShapedType>(attribute.getType());
  Type element = type.getElementType();
  HostTensor unknown = ofShape(type.getShape(), element);
  if (type.getNumElements() > 4 * kMaxElements)
    return unknown;
  if (isa<FloatType>(element)) {
    auto range = attribute.tryGetValues<APFloat>();
    if (!range)
      return unknown;
    std::vector<double> values;
    for (APFloat value : *range) {
      bool losesInfo;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
      values.push_back(value.convertToDouble());
    }
    return ofFloats(type.getShape(), element, std::move(values));
  }
  auto range = attribute.tryGetValues<APInt>();
  if (!range)
    return unknown;
  std::vector<int64_t> values;
  for (const APInt &value : *range)
    values.push_back(element.isInteger(1) || element.isUnsignedInteger() ? value.getZExtValue() : value.getSExtValue());
  return ofInts(type.getShape(), element, std::move(values));
}

bool HostTensor::sameAs(const HostTensor &other) const {
  if (shape != other.shape || elementType != other.elementType)
    return false;
  // A NaN equals itself here: the question is whether two evaluations agree.
  for (int64_t i = 0, e = size(); i < e; ++i)
    if (floats ? !(at(i) == other.at(i) || (at(i) != at(i) && other.at(i) != other.at(i))) : intAt(i) != other.intAt(i))
      return false;
  return true;
}

DenseElementsAttr HostTensor::toAttribute() const {
  auto type = RankedTensorType::get(shape, elementType);
  SmallVector<Attribute> values;
  Builder builder(elementType.getContext());
  for (int64_t i = 0, e = size(); i < e; ++i) {
    if (isFloat())
      values.push_back(builder.getFloatAttr(elementType, at(i)));
    else
      values.push_back(builder.getIntegerAttr(elementType, intAt(i)));
  }
  return DenseElementsAttr::get(type, values);
}

int64_t sparse::raise::elementCount(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  bool overflows = false;
  for (int64_t extent : shape) {
    if (extent == 0)
      return 0;
    overflows |= llvm::MulOverflow(count, extent, count);
  }
  return overflows || count < 0 ? std::numeric_limits<int64_t>::max() : count;
}

int64_t sparse::raise::toInteger(double value) {
  constexpr double kLimit = 9223372036854774784.0; // the largest double below 2^63
  if (std::isnan(value))
    return 0;
  return static_cast<int64_t>(std::clamp(value, -kLimit, kLimit));
}

double sparse::raise::roundTo(Type type, double value) {
  if (type.isF64())
    return value;
  if (type.isF32())
    return static_cast<float>(value);
  APFloat rounded(value);
  bool losesInfo;
  rounded.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
  rounded.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
  return rounded.convertToDouble();
}

std::optional<SmallVector<int64_t>> sparse::raise::broadcastShape(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  SmallVector<int64_t> result(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < result.size(); ++i) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1)
      return std::nullopt;
    result[result.size() - 1 - i] = x == 1 ? y : x;
  }
  return result;
}

int64_t sparse::raise::broadcastOffset(ArrayRef<int64_t> from, ArrayRef<int64_t> index) {
  int64_t offset = 0;
  size_t skip = index.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i)
    offset = offset * from[i] + (from[i] == 1 ? 0 : index[skip + i]);
  return offset;
}

void sparse::raise::forEachIndex(ArrayRef<int64_t> shape, llvm::function_ref<void(ArrayRef<int64_t>, int64_t)> body) {
  SmallVector<int64_t> index(shape.size(), 0);
  for (int64_t position = 0, size = elementCount(shape); position < size; ++position) {
    body(index, position);
    for (int64_t axis = static_cast<int64_t>(shape.size()) - 1; axis >= 0 && ++index[axis] == shape[axis]; --axis)
      index[axis] = 0;
  }
}
