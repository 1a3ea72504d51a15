//===-- Movement.cpp - Operators that only move elements ----------------------------------------------------------===//
#include "passes/Raise/Movement.h"

#include "dialects/ONNX/ONNX.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
using Operands = ArrayRef<const HostTensor *>;
using MaybeMovement = std::optional<Movement>;

std::optional<SmallVector<int64_t>> intsOf(const HostTensor *tensor) {
  if (!tensor || !tensor->hasData())
    return std::nullopt;
  SmallVector<int64_t> values;
  for (int64_t i = 0, e = tensor->size(); i < e; ++i)
    values.push_back(tensor->intAt(i));
  return values;
}

bool isNegative(int64_t value) { return value < 0; }

/// Axes counted from the front. Nothing when one is outside [-rank, rank).
std::optional<SmallVector<int64_t>> normalized(SmallVector<int64_t> axes, int64_t rank) {
  for (int64_t &axis : axes) {
    if (axis < -rank || axis >= rank)
      return std::nullopt;
    axis = axis < 0 ? axis + rank : axis;
  }
  return axes;
}

/// The same elements in the same order.
Movement viewAs(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> result(shape);
  return {result, [result](ArrayRef<int64_t> index) { return linearize(index, computeSuffixProduct(result)); }};
}

MaybeMovement reshape(onnx::ReshapeOp op, Operands operands) {
  auto wanted = intsOf(operands[1]);
  if (!wanted)
    return std::nullopt;
  const HostTensor &data = *operands[0];
  int64_t inferred = -1, known = 1;
  for (auto [axis, extent] : llvm::enumerate(*wanted)) {
    if (extent == 0 && !op.getAllowzero()) {
      if (static_cast<int64_t>(axis) >= data.rank())
        return std::nullopt;
      extent = data.shape[axis];
    }
    if (extent < -1)
      return std::nullopt;
    if (extent == -1)
      inferred = axis;
    else if (llvm::MulOverflow(known, extent, known))
      return std::nullopt;
  }
  if (inferred >= 0)
    (*wanted)[inferred] = known == 0 ? 0 : data.size() / known;
  if (elementCount(*wanted) != data.size())
    return std::nullopt;
  return viewAs(*wanted);
}

MaybeMovement transpose(onnx::TransposeOp op, Operands operands) {
  ArrayRef<int64_t> from = operands[0]->shape;
  SmallVector<int64_t> perm;
  if (op.getPerm())
    perm.assign(op.getPerm()->begin(), op.getPerm()->end());
  else
    perm = llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, from.size())));
  if (perm.size() != from.size() || !isPermutationVector(perm))
    return std::nullopt;
  SmallVector<int64_t> strides = computeSuffixProduct(from);
  return Movement{applyPermutation(from, perm), [perm, strides](ArrayRef<int64_t> index) {
                    int64_t offset = 0;
                    for (auto [position, axis] : llvm::enumerate(perm))
                      offset += index[position] * strides[axis];
                    return offset;
                  }};
}

MaybeMovement squeeze(Operands operands) {
  ArrayRef<int64_t> from = operands[0]->shape;
  SmallVector<int64_t> drop, shape;
  if (operands[1]) {
    auto axes = intsOf(operands[1]);
    if (axes)
      axes = normalized(*axes, from.size());
    if (!axes)
      return std::nullopt;
    drop = *axes;
  }
  for (auto [axis, extent] : llvm::enumerate(from))
    if (operands[1] ? !llvm::is_contained(drop, static_cast<int64_t>(axis)) : extent != 1)
      shape.push_back(extent);
  if (elementCount(shape) != operands[0]->size())
    return std::nullopt;
  return viewAs(shape);
}

MaybeMovement unsqueeze(Operands operands) {
  auto axes = intsOf(operands[1]);
  if (!axes)
    return std::nullopt;
  int64_t rank = operands[0]->rank() + axes->size();
  axes = normalized(*axes, rank);
  if (!axes)
    return std::nullopt;
  SmallVector<int64_t> shape;
  const int64_t *next = operands[0]->shape.begin();
  for (int64_t axis = 0; axis < rank; ++axis) {
    bool inserted = llvm::is_contained(*axes, axis);
    if (!inserted && next == operands[0]->shape.end())
      return std::nullopt;
    shape.push_back(inserted ? 1 : *next++);
  }
  return viewAs(shape);
}

MaybeMovement expand(Operands operands) {
  auto wanted = intsOf(operands[1]);
  if (!wanted || llvm::any_of(*wanted, isNegative))
    return std::nullopt;
  SmallVector<int64_t> from(operands[0]->shape);
  auto shape = broadcastShape(from, *wanted);
  if (!shape)
    return std::nullopt;
  return Movement{*shape, [from](ArrayRef<int64_t> index) { return broadcastOffset(from, index); }};
}

MaybeMovement tile(Operands operands) {
  auto repeats = intsOf(operands[1]);
  SmallVector<int64_t> from(operands[0]->shape), shape;
  if (!repeats || repeats->size() != from.size())
    return std::nullopt;
  for (auto [extent, count] : llvm::zip(from, *repeats)) {
    int64_t product;
    if (count < 0 || llvm::MulOverflow(extent, count, product))
      return std::nullopt;
    shape.push_back(product);
  }
  return Movement{shape, [from](ArrayRef<int64_t> index) {
                    int64_t offset = 0;
                    for (auto [extent, i] : llvm::zip(from, index))
                      offset = offset * extent + i % extent;
                    return offset;
                  }};
}

MaybeMovement slice(Operands operands) {
  auto starts = intsOf(operands[1]), ends = intsOf(operands[2]);
  if (!starts || !ends)
    return std::nullopt;
  SmallVector<int64_t> from(operands[0]->shape), axes, steps(starts->size(), 1);
  if (operands[3]) {
    auto given = intsOf(operands[3]);
    if (given)
      given = normalized(*given, from.size());
    if (!given)
      return std::nullopt;
    axes = *given;
  } else {
    axes = llvm::to_vector(llvm::seq<int64_t>(0, starts->size()));
  }
  if (operands[4]) {
    auto given = intsOf(operands[4]);
    if (!given)
      return std::nullopt;
    steps = *given;
  }
  if (ends->size() != starts->size() || axes.size() != starts->size() || steps.size() != starts->size())
    return std::nullopt;
  SmallVector<int64_t> shape(from), first(from.size(), 0), step(from.size(), 1);
  for (auto &&[axis, start, end, stride] : llvm::zip(axes, *starts, *ends, steps)) {
    int64_t extent = from[axis];
    if (stride == 0)
      return std::nullopt;
    // A step past the end is any step past the end.
    stride = std::clamp(stride, -extent - 1, extent + 1);
    int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? extent : extent - 1;
    int64_t begin = std::clamp<int64_t>(start < 0 ? start + extent : start, 0, std::max<int64_t>(high, 0));
    int64_t stop = std::clamp(end < 0 ? std::max(end, -extent - 1) + extent : end, low, stride > 0 ? high : extent);
    int64_t count = stride > 0 ? (stop - begin + stride - 1) / stride : (begin - stop - stride - 1) / -stride;
    shape[axis] = std::max<int64_t>(count, 0);
    first[axis] = begin;
    step[axis] = stride;
  }
  return Movement{shape, [from, first, step](ArrayRef<int64_t> index) {
                    int64_t offset = 0;
                    for (size_t axis = 0; axis < from.size(); ++axis)
                      offset = offset * from[axis] + first[axis] + index[axis] * step[axis];
                    return offset;
                  }};
}

MaybeMovement split(onnx::SplitOp op, unsigned part, Operands operands) {
  SmallVector<int64_t> from(operands[0]->shape), sizes;
  int64_t axis = fromFront(op.getAxis(), from.size());
  if (axis < 0 || axis >= static_cast<int64_t>(from.size()))
    return std::nullopt;
  if (operands[1]) {
    auto given = intsOf(operands[1]);
    if (!given)
      return std::nullopt;
    sizes = *given;
    if (llvm::any_of(sizes, isNegative))
      return std::nullopt;
  } else {
    int64_t parts = op.getNumResults(), chunk = (from[axis] + parts - 1) / parts;
    for (int64_t i = 0; i < parts; ++i)
      sizes.push_back(std::min(chunk, from[axis] - i * chunk));
  }
  if (part >= sizes.size())
    return std::nullopt;
  int64_t offset = 0;
  for (unsigned i = 0; i < part; ++i)
    offset += sizes[i];
  SmallVector<int64_t> shape(from), strides = computeSuffixProduct(from);
  shape[axis] = sizes[part];
  return Movement{shape, [strides, offset, axis](ArrayRef<int64_t> index) {
                    return linearize(index, strides) + offset * strides[axis];
                  }};
}

MaybeMovement gather(onnx::GatherOp op, Operands operands) {
  SmallVector<int64_t> from(operands[0]->shape), shape;
  int64_t axis = fromFront(op.getAxis(), from.size());
  if (axis < 0 || axis >= static_cast<int64_t>(from.size()))
    return std::nullopt;
  HostTensor indices = *operands[1];
  shape.append(from.begin(), from.begin() + axis);
  shape.append(indices.shape.begin(), indices.shape.end());
  shape.append(from.begin() + axis + 1, from.end());
  if (!indices.hasData())
    return Movement{shape, nullptr};
  for (int64_t i = 0, e = indices.size(); i < e; ++i)
    if (indices.intAt(i) < -from[axis] || indices.intAt(i) >= from[axis])
      return Movement{shape, nullptr};
  SmallVector<int64_t> strides = computeSuffixProduct(from), indexStrides = computeSuffixProduct(indices.shape);
  return Movement{shape, [=](ArrayRef<int64_t> index) {
                    int64_t offset = linearize(index.take_front(axis), ArrayRef(strides).take_front(axis));
                    int64_t picked = indices.intAt(linearize(index.slice(axis, indexStrides.size()), indexStrides));
                    offset += (picked < 0 ? picked + from[axis] : picked) * strides[axis];
                    size_t rest = axis + indexStrides.size();
                    return offset + linearize(index.drop_front(rest), ArrayRef(strides).drop_front(axis + 1));
                  }};
}

MaybeMovement gatherElements(onnx::GatherElementsOp op, Operands operands) {
  SmallVector<int64_t> from(operands[0]->shape);
  HostTensor indices = *operands[1];
  int64_t axis = fromFront(op.getAxis(), from.size());
  if (axis < 0 || axis >= operands[0]->rank())
    return std::nullopt;
  if (!indices.hasData() || indices.rank() != operands[0]->rank())
    return Movement{indices.shape, nullptr};
  SmallVector<int64_t> strides = computeSuffixProduct(from), indexStrides = computeSuffixProduct(indices.shape);
  return Movement{indices.shape, [=](ArrayRef<int64_t> index) {
                    SmallVector<int64_t> at(index);
                    int64_t picked = indices.intAt(linearize(index, indexStrides));
                    at[axis] = picked < 0 ? picked + from[axis] : picked;
                    return linearize(at, strides);
                  }};
}

MaybeMovement gatherND(onnx::GatherNDOp op, Operands operands) {
  SmallVector<int64_t> from(operands[0]->shape);
  HostTensor indices = *operands[1];
  if (op.getBatchDims() != 0 || indices.rank() == 0)
    return std::nullopt;
  int64_t depth = indices.shape.back();
  if (depth > static_cast<int64_t>(from.size()))
    return std::nullopt;
  SmallVector<int64_t> shape(ArrayRef<int64_t>(indices.shape).drop_back());
  shape.append(from.begin() + depth, from.end());
  if (!indices.hasData())
    return Movement{shape, nullptr};
  SmallVector<int64_t> strides = computeSuffixProduct(from), indexStrides = computeSuffixProduct(indices.shape);
  size_t lead = indices.rank() - 1;
  return Movement{shape, [=](ArrayRef<int64_t> index) {
                    int64_t base = linearize(index.take_front(lead), ArrayRef(indexStrides).take_front(lead));
                    int64_t offset = 0;
                    for (int64_t i = 0; i < depth; ++i) {
                      int64_t picked = indices.intAt(base + i);
                      offset += (picked < 0 ? picked + from[i] : picked) * strides[i];
                    }
                    return offset + linearize(index.drop_front(lead), ArrayRef(strides).drop_front(depth));
                  }};
}

MaybeMovement flatten(onnx::FlattenOp op, Operands operands) {
  ArrayRef<int64_t> from = operands[0]->shape;
  int64_t axis = fromFront(op.getAxis(), from.size());
  if (axis < 0 || axis > static_cast<int64_t>(from.size()))
    return std::nullopt;
  return viewAs({elementCount(from.take_front(axis)), elementCount(from.drop_front(axis))});
}
} // namespace

bool sparse::raise::isMovement(Operation *op) {
  return isa<onnx::IdentityOp, onnx::ReshapeOp, onnx::TransposeOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::ExpandOp,
             onnx::TileOp, onnx::SliceOp, onnx::SplitOp, onnx::GatherOp, onnx::GatherElementsOp, onnx::GatherNDOp,
             onnx::FlattenOp>(op);
}

MaybeMovement sparse::raise::movementOf(Operation *op, unsigned index, Operands operands) {
  return llvm::TypeSwitch<Operation *, MaybeMovement>(op)
      .Case([&](onnx::IdentityOp) { return viewAs(operands[0]->shape); })
      .Case([&](onnx::ReshapeOp op) { return reshape(op, operands); })
      .Case([&](onnx::TransposeOp op) { return transpose(op, operands); })
      .Case([&](onnx::SqueezeOp) { return squeeze(operands); })
      .Case([&](onnx::UnsqueezeOp) { return unsqueeze(operands); })
      .Case([&](onnx::ExpandOp) { return expand(operands); })
      .Case([&](onnx::TileOp) { return tile(operands); })
      .Case([&](onnx::SliceOp) { return slice(operands); })
      .Case([&](onnx::SplitOp op) { return split(op, index, operands); })
      .Case([&](onnx::GatherOp op) { return gather(op, operands); })
      .Case([&](onnx::GatherElementsOp op) { return gatherElements(op, operands); })
      .Case([&](onnx::GatherNDOp op) { return gatherND(op, operands); })
      .Case([&](onnx::FlattenOp op) { return flatten(op, operands); })
      .Default([](Operation *) -> MaybeMovement { return std::nullopt; });
}
