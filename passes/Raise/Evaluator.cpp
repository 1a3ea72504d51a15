//===-- Evaluator.cpp - Concrete evaluation of onnx operators -----------------------------------------------------===//
#include "passes/Raise/Evaluator.h"

#include "dialects/ONNX/ONNX.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
using Operands = ArrayRef<const HostTensor *>;

Results one(std::optional<HostTensor> result) { return {std::move(result)}; }

/// A shape operand's elements as extents.
std::optional<SmallVector<int64_t>> extentsOf(const HostTensor *tensor) {
  if (!tensor || !tensor->hasData())
    return std::nullopt;
  SmallVector<int64_t> extents;
  for (int64_t i = 0, e = tensor->size(); i < e; ++i)
    extents.push_back(tensor->intAt(i));
  if (llvm::any_of(extents, [](int64_t extent) { return extent < 0; }))
    return std::nullopt;
  return extents;
}

Results concat(onnx::ConcatOp op, Operands operands) {
  SmallVector<int64_t> shape(operands[0]->shape);
  int64_t axis = fromFront(op.getAxis(), shape.size());
  if (axis < 0 || axis >= static_cast<int64_t>(shape.size()))
    return one(std::nullopt);
  shape[axis] = 0;
  bool known = true;
  for (const HostTensor *operand : operands) {
    if (operand->rank() != static_cast<int64_t>(shape.size()))
      return one(std::nullopt);
    shape[axis] += operand->shape[axis];
    known &= operand->hasData();
  }
  HostTensor result = HostTensor::ofShape(shape, operands[0]->elementType);
  if (!known || result.size() > kMaxElements)
    return one(result);
  std::vector<double> floats(result.isFloat() ? result.size() : 0);
  std::vector<int64_t> ints(result.isFloat() ? 0 : result.size());
  SmallVector<int64_t> strides = computeSuffixProduct(shape);
  int64_t offset = 0;
  for (const HostTensor *operand : operands) {
    forEachIndex(operand->shape, [&](ArrayRef<int64_t> index, int64_t position) {
      int64_t to = linearize(index, strides) + offset * strides[axis];
      if (result.isFloat())
        floats[to] = operand->at(position);
      else
        ints[to] = operand->intAt(position);
    });
    offset += operand->shape[axis];
  }
  return one(result.isFloat() ? HostTensor::ofFloats(shape, result.elementType, std::move(floats))
                              : HostTensor::ofInts(shape, result.elementType, std::move(ints)));
}

Results shapeOf(onnx::ShapeOp op, Operands operands) {
  int64_t rank = operands[0]->rank();
  auto bound = [&](int64_t value) { return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank); };
  int64_t start = bound(op.getStart()), end = op.getEnd() ? bound(*op.getEnd()) : rank;
  std::vector<int64_t> extents;
  for (int64_t axis = start; axis < end; ++axis)
    extents.push_back(operands[0]->shape[axis]);
  int64_t count = extents.size();
  return one(HostTensor::ofInts({count}, resultElementType(op, 0), std::move(extents)));
}

Results constantOfShape(onnx::ConstantOfShapeOp op, Operands operands) {
  auto shape = extentsOf(operands[0]);
  if (!shape)
    return one(std::nullopt);
  HostTensor result = HostTensor::ofShape(*shape, resultElementType(op, 0));
  if (result.size() > kMaxElements)
    return one(result);
  HostTensor fill = op.getValue() ? HostTensor::ofAttribute(*op.getValue())
                                  : HostTensor::ofFloats({1}, Float32Type::get(op.getContext()), {0.0});
  if (fill.size() != 1 || !fill.hasData())
    return one(std::nullopt);
  size_t count = result.size();
  return one(result.isFloat()
                 ? HostTensor::ofFloats(*shape, result.elementType, std::vector<double>(count, fill.at(0)))
                 : HostTensor::ofInts(*shape, result.elementType, std::vector<int64_t>(count, fill.intAt(0))));
}

Results range(onnx::RangeOp op, Operands operands) {
  for (const HostTensor *operand : operands)
    if (!operand->hasData() || operand->size() != 1)
      return one(std::nullopt);
  double start = operands[0]->at(0), limit = operands[1]->at(0), delta = operands[2]->at(0);
  if (delta == 0)
    return one(std::nullopt);
  int64_t count = std::max<int64_t>(0, toInteger(std::ceil((limit - start) / delta)));
  if (count > kMaxElements)
    return one(HostTensor::ofShape({count}, operands[0]->elementType));
  if (operands[0]->isFloat()) {
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(start + i * delta);
    return one(HostTensor::ofFloats({count}, operands[0]->elementType, std::move(values)));
  }
  std::vector<int64_t> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(operands[0]->intAt(0) + i * operands[2]->intAt(0));
  return one(HostTensor::ofInts({count}, operands[0]->elementType, std::move(values)));
}

Results cumSum(onnx::CumSumOp op, Operands operands) {
  const HostTensor &data = *operands[0];
  HostTensor result = HostTensor::ofShape(data.shape, data.elementType);
  if (!data.hasData() || !operands[1]->hasData() || operands[1]->size() != 1 || data.size() > kMaxElements)
    return one(result);
  int64_t axis = fromFront(operands[1]->intAt(0), data.rank());
  if (axis < 0 || axis >= data.rank())
    return one(std::nullopt);
  SmallVector<int64_t> strides = computeSuffixProduct(data.shape);
  std::vector<double> values(data.size());
  int64_t extent = data.shape[axis], stride = strides[axis];
  forEachIndex(data.shape, [&](ArrayRef<int64_t> index, int64_t position) {
    double sum = 0;
    int64_t line = position - index[axis] * stride;
    for (int64_t i = 0; i < extent; ++i) {
      bool before = op.getReverse() ? i > index[axis] : i < index[axis];
      if (before || (i == index[axis] && !op.getExclusive()))
        sum += data.at(line + i * stride);
    }
    values[position] = sum;
  });
  if (data.isFloat())
    return one(HostTensor::ofFloats(data.shape, data.elementType, std::move(values)));
  return one(HostTensor::ofInts(data.shape, data.elementType, std::vector<int64_t>(values.begin(), values.end())));
}

Results trilu(onnx::TriluOp op, Operands operands) {
  const HostTensor &data = *operands[0];
  HostTensor result = HostTensor::ofShape(data.shape, data.elementType);
  if (!data.hasData() || data.rank() < 2 || data.size() > kMaxElements ||
      (operands[1] && (!operands[1]->hasData() || operands[1]->size() != 1)))
    return one(result);
  // Diagonals farther out than the matrix are all alike.
  int64_t k = operands[1] ? std::clamp(operands[1]->intAt(0), -kMaxElements, kMaxElements) : 0;
  std::vector<double> floats;
  std::vector<int64_t> ints;
  forEachIndex(data.shape, [&](ArrayRef<int64_t> index, int64_t position) {
    int64_t row = index[index.size() - 2], column = index.back();
    bool keep = op.getUpper() ? column >= row + k : column <= row + k;
    if (data.isFloat())
      floats.push_back(keep ? data.at(position) : 0.0);
    else
      ints.push_back(keep ? data.intAt(position) : 0);
  });
  return one(data.isFloat() ? HostTensor::ofFloats(data.shape, data.elementType, std::move(floats))
                            : HostTensor::ofInts(data.shape, data.elementType, std::move(ints)));
}

Results scatterND(onnx::ScatterNDOp op, Operands operands) {
  const HostTensor &data = *operands[0], &indices = *operands[1], &updates = *operands[2];
  HostTensor result = HostTensor::ofShape(data.shape, data.elementType);
  if (!data.hasData() || !indices.hasData() || !updates.hasData() || op.getReduction() != "none" ||
      indices.rank() == 0 || data.size() > kMaxElements)
    return one(result);
  int64_t depth = indices.shape.back();
  if (depth > data.rank())
    return one(std::nullopt);
  SmallVector<int64_t> strides = computeSuffixProduct(data.shape);
  int64_t block = computeProduct(ArrayRef(data.shape).drop_front(depth));
  std::vector<double> values(data.size());
  for (int64_t i = 0; i < data.size(); ++i)
    values[i] = data.at(i);
  for (int64_t i = 0, e = depth ? indices.size() / depth : 0; i < e; ++i) {
    int64_t offset = 0;
    for (int64_t j = 0; j < depth; ++j) {
      int64_t at = indices.intAt(i * depth + j);
      at = at < 0 ? at + data.shape[j] : at;
      if (at < 0 || at >= data.shape[j])
        return one(std::nullopt);
      offset += at * strides[j];
    }
    for (int64_t j = 0; j < block && i * block + j < updates.size(); ++j)
      values[offset + j] = updates.at(i * block + j);
  }
  if (data.isFloat())
    return one(HostTensor::ofFloats(data.shape, data.elementType, std::move(values)));
  return one(HostTensor::ofInts(data.shape, data.elementType, std::vector<int64_t>(values.begin(), values.end())));
}

Results matMul(onnx::MatMulOp op, Operands operands) {
  const HostTensor &a = *operands[0], &b = *operands[1];
  // Vectors don't occur as operands of a decoder's products.
  if (a.rank() < 2 || b.rank() < 2 || a.shape.back() != b.shape[b.rank() - 2])
    return one(std::nullopt);
  auto shape = broadcastShape(ArrayRef(a.shape).drop_back(2), ArrayRef(b.shape).drop_back(2));
  if (!shape)
    return one(std::nullopt);
  shape->push_back(a.shape[a.rank() - 2]);
  shape->push_back(b.shape.back());
  HostTensor result = HostTensor::ofShape(*shape, resultElementType(op, 0));
  int64_t depth = a.shape.back();
  if (!a.hasData() || !b.hasData() || !result.isFloat() || result.size() > kMaxElements / std::max<int64_t>(depth, 1))
    return one(result);
  std::vector<double> values;
  forEachIndex(*shape, [&](ArrayRef<int64_t> index, int64_t) {
    SmallVector<int64_t> at(index), bt(index);
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k) {
      at.back() = k;
      bt[bt.size() - 2] = k;
      // Products and sums round as the type does, so that a sum of one product is exact.
      sum = roundTo(result.elementType, sum + roundTo(result.elementType, a.at(broadcastOffset(a.shape, at)) *
                                                                              b.at(broadcastOffset(b.shape, bt))));
    }
    values.push_back(sum);
  });
  return one(HostTensor::ofFloats(*shape, result.elementType, std::move(values)));
}

Results gemm(onnx::GemmOp op, Operands operands) {
  ArrayRef<int64_t> a = operands[0]->shape, b = operands[1]->shape;
  if (a.size() != 2 || b.size() != 2)
    return one(std::nullopt);
  return one(HostTensor::ofShape({a[op.getTransA() ? 1 : 0], b[op.getTransB() ? 0 : 1]}, resultElementType(op, 0)));
}

/// The results `which` have the shape of the first operand, the others are unknown.
Results likeFirst(Operation *op, Operands operands, ArrayRef<unsigned> which) {
  Results results(op->getNumResults());
  for (unsigned index : which)
    if (index < results.size() && isa<TensorType>(op->getResult(index).getType()))
      results[index] = HostTensor::ofShape(operands[0]->shape, resultElementType(op, index));
  return results;
}

Results attention(onnx::AttentionOp op, Operands operands) {
  Results results(op->getNumResults());
  const HostTensor &q = *operands[0], &k = *operands[1], &v = *operands[2], *past = operands[4];
  if (q.rank() != k.rank() || q.rank() != v.rank())
    return results;
  int64_t heads = op.getQNumHeads(), kvHeads = op.getKvNumHeads();
  SmallVector<int64_t> present, presentValue;
  if (q.rank() == 4) {
    kvHeads = k.shape[1];
    SmallVector<int64_t> y(q.shape);
    y[3] = v.shape[3];
    results[0] = HostTensor::ofShape(y, resultElementType(op, 0));
    present = k.shape;
    presentValue = v.shape;
  } else if (q.rank() == 3 && heads > 0 && kvHeads > 0) {
    int64_t valueDim = v.shape[2] / kvHeads;
    results[0] = HostTensor::ofShape({q.shape[0], q.shape[1], heads * valueDim}, resultElementType(op, 0));
    present = {k.shape[0], kvHeads, k.shape[1], k.shape[2] / kvHeads};
    presentValue = {v.shape[0], kvHeads, v.shape[1], valueDim};
  } else {
    return results;
  }
  if (past && past->rank() == 4) {
    present[2] += past->shape[2];
    presentValue[2] += past->shape[2];
  }
  if (isa<TensorType>(op.getPresentKey().getType()))
    results[1] = HostTensor::ofShape(present, resultElementType(op, 1));
  if (isa<TensorType>(op.getPresentValue().getType()))
    results[2] = HostTensor::ofShape(presentValue, resultElementType(op, 2));
  return results;
}

Results dropout(onnx::DropoutOp op, Operands operands) {
  Results results(op->getNumResults());
  results[0] = *operands[0];
  return results;
}
} // namespace

Type sparse::raise::resultElementType(Operation *op, unsigned index) {
  auto type = dyn_cast<TensorType>(op->getResult(index).getType());
  return type ? type.getElementType() : Type();
}

HostTensor sparse::raise::applyMovement(const Movement &movement, const HostTensor &source) {
  HostTensor result = HostTensor::ofShape(movement.shape, source.elementType);
  if (!movement.source || !source.hasData() || result.size() > kMaxElements)
    return result;
  std::vector<double> floats;
  std::vector<int64_t> ints;
  int64_t size = source.size();
  bool inside = true;
  forEachIndex(movement.shape, [&](ArrayRef<int64_t> index, int64_t) {
    int64_t from = movement.source(index);
    if (from < 0 || from >= size)
      inside = false;
    else if (source.isFloat())
      floats.push_back(source.at(from));
    else
      ints.push_back(source.intAt(from));
  });
  if (!inside)
    return result;
  return source.isFloat() ? HostTensor::ofFloats(movement.shape, source.elementType, std::move(floats))
                          : HostTensor::ofInts(movement.shape, source.elementType, std::move(ints));
}

Results sparse::raise::evaluate(Operation *op, Operands operands) {
  if (isMovement(op)) {
    Results results;
    for (unsigned i = 0; i < op->getNumResults(); ++i) {
      std::optional<Movement> movement = movementOf(op, i, operands);
      results.push_back(movement ? std::optional(applyMovement(*movement, *operands[0])) : std::nullopt);
    }
    return results;
  }
  return llvm::TypeSwitch<Operation *, Results>(op)
      .Case([&](onnx::ConcatOp op) { return concat(op, operands); })
      .Case([&](onnx::ShapeOp op) { return shapeOf(op, operands); })
      .Case(
          [&](onnx::SizeOp op) { return one(HostTensor::ofInts({}, resultElementType(op, 0), {operands[0]->size()})); })
      .Case([&](onnx::ConstantOfShapeOp op) { return constantOfShape(op, operands); })
      .Case([&](onnx::RangeOp op) { return range(op, operands); })
      .Case([&](onnx::CumSumOp op) { return cumSum(op, operands); })
      .Case([&](onnx::TriluOp op) { return trilu(op, operands); })
      .Case([&](onnx::ScatterNDOp op) { return scatterND(op, operands); })
      .Case([&](onnx::MatMulOp op) { return matMul(op, operands); })
      .Case([&](onnx::GemmOp op) { return gemm(op, operands); })
      .Case([&](onnx::DropoutOp op) { return dropout(op, operands); })
      .Case([&](onnx::AttentionOp op) { return attention(op, operands); })
      .Case<onnx::SoftmaxOp, onnx::RMSNormalizationOp, onnx::LayerNormalizationOp, onnx::SimplifiedLayerNormalizationOp,
            onnx::RotaryEmbeddingOp>([&](Operation *op) { return likeFirst(op, operands, {0}); })
      .Case([&](onnx::SkipSimplifiedLayerNormalizationOp op) {
        return likeFirst(op, operands, {0, 3});
      })
      .Default([&](Operation *op) {
        if (auto reduced = evaluateReduction(op, operands))
          return one(std::move(reduced));
        if (op->getNumResults() == 1)
          if (auto result = evaluateElementwise(op, operands))
            return one(std::move(result));
        return Results(op->getNumResults());
      });
}
