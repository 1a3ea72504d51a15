//===-- AttentionParts.cpp - Attention as a graph spells it -------------------------------------------------------===//
#include "passes/Raise/AttentionParts.h"

#include "dialects/ONNX/ONNX.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

//===-- Scores ----------------------------------------------------------------------------------------------------===//

namespace {
bool hasElements(const Evaluation &evaluation, Value value) {
  const HostTensor *tensor = evaluation.get(value, 0);
  return tensor && tensor->hasData();
}

bool isFloatCast(Operation *op) {
  auto cast = dyn_cast<onnx::CastOp>(op);
  return cast && isa<FloatType>(getElementTypeOrSelf(cast.getInput())) &&
         isa<FloatType>(getElementTypeOrSelf(cast.getResult()));
}

/// Walks from the input of a softmax to the product of queries and keys.
class ScoreWalk {
public:
  ScoreWalk(const Evaluation &evaluation, AttentionParts &parts) : evaluation(evaluation), parts(parts) {}

  bool run(Value scores) {
    double factor = 1.0;
    while (Operation *op = scores.getDefiningOp()) {
      if (auto product = dyn_cast<onnx::MatMulOp>(op)) {
        parts.query = product.getLhs();
        parts.key = product.getRhs();
        parts.keyOrder = Order::BHDL;
        parts.scale = factor;
        return true;
      }
      if (isFloatCast(op)) {
        scores = op->getOperand(0);
      } else if (Value inner = pastMask(op)) {
        // Masks come after the cap, and factors don't change what they hide.
        scores = inner;
      } else if (Value inner = pastFactor(op, factor)) {
        scores = inner;
      } else if (auto tanh = dyn_cast<onnx::TanhOp>(op); tanh && parts.softcap == 0 && factor > 0) {
        // factor * tanh(x / factor)
        parts.softcap = factor;
        scores = tanh.getInput();
      } else {
        return false;
      }
    }
    return false;
  }

private:
  Value pastMask(Operation *op) {
    if (auto add = dyn_cast<onnx::AddOp>(op)) {
      for (Value side : {add.getRhs(), add.getLhs()})
        if (hasElements(evaluation, side)) {
          parts.mask.terms.push_back({side, MaskTerm::Additive});
          return otherOperand(op, side);
        }
    }
    if (auto where = dyn_cast<onnx::WhereOp>(op); where && hasElements(evaluation, where.getCondition())) {
      auto hides = [&](Value value) {
        auto constant = evaluation.constantScalar(value);
        return constant && *constant <= -1e4;
      };
      if (hides(where.getRhs())) {
        parts.mask.terms.push_back({where.getCondition(), MaskTerm::Attend});
        return where.getLhs();
      }
      if (hides(where.getLhs())) {
        parts.mask.terms.push_back({where.getCondition(), MaskTerm::Hide});
        return where.getRhs();
      }
    }
    return {};
  }

  Value pastFactor(Operation *op, double &factor) {
    if (!isa<onnx::MulOp, onnx::DivOp>(op))
      return {};
    for (unsigned side : {1u, 0u}) {
      auto constant = evaluation.constantScalar(op->getOperand(side));
      if (!constant || (side == 0 && isa<onnx::DivOp>(op)))
        continue;
      factor *= isa<onnx::DivOp>(op) ? 1.0 / *constant : *constant;
      return op->getOperand(1 - side);
    }
    return {};
  }

  const Evaluation &evaluation;
  AttentionParts &parts;
};

/// Follows probabilities forward, past what changes none of them, to their product with the values.
onnx::MatMulOp productWithValues(const Evaluation &evaluation, Value probabilities) {
  for (;;) {
    Value next;
    for (Operation *user : probabilities.getUsers()) {
      if (auto product = dyn_cast<onnx::MatMulOp>(user); product && product.getLhs() == probabilities)
        return product;
      // A row that sees no key is all NaN: a causal query always sees itself.
      if (auto guard = dyn_cast<onnx::WhereOp>(user); guard && guard.getRhs() == probabilities) {
        auto isNaN = guard.getCondition().getDefiningOp<onnx::IsNaNOp>();
        if (isNaN && isNaN.getInput() == probabilities && evaluation.constantScalar(guard.getLhs()) == 0.0)
          next = guard.getResult();
      } else if (isFloatCast(user)) {
        next = user->getResult(0);
      } else if (auto dropout = dyn_cast<onnx::DropoutOp>(user)) {
        next = dropout.getOutput();
      }
    }
    if (!next)
      return {};
    probabilities = next;
  }
}

int64_t constantExtent(const Evaluation &evaluation, Value value, int64_t axis) {
  Extent extent = evaluation.extent(value, axis);
  return extent.kind == Extent::Constant ? extent.value : 0;
}
} // namespace

std::optional<AttentionParts> sparse::raise::matchDecomposed(const Evaluation &evaluation, Operation *op) {
  auto softmax = cast<onnx::SoftmaxOp>(op);
  int64_t axis = softmax.getAxis();
  if (evaluation.rank(softmax.getInput()) != 4 || (axis != -1 && axis != 3))
    return std::nullopt;
  AttentionParts parts;
  if (!ScoreWalk(evaluation, parts).run(softmax.getInput()))
    return std::nullopt;
  onnx::MatMulOp product = productWithValues(evaluation, softmax.getResult());
  if (!product || evaluation.rank(parts.query) != 4 || evaluation.rank(product.getRhs()) != 4)
    return std::nullopt;
  parts.op = product;
  parts.value = product.getRhs();
  parts.result = product.getResult();
  parts.heads = constantExtent(evaluation, parts.query, 1);
  parts.headDim = constantExtent(evaluation, parts.query, 3);
  parts.valueDim = constantExtent(evaluation, parts.value, 3);
  parts.keyHeads = parts.heads;
  if (parts.heads <= 0 || parts.headDim <= 0 || parts.valueDim <= 0)
    return std::nullopt;
  return parts;
}

std::optional<AttentionParts> sparse::raise::partsOfAttention(const Evaluation &evaluation, Operation *operation) {
  auto op = cast<onnx::AttentionOp>(operation);
  std::optional<int64_t> rank = evaluation.rank(op.getQ());
  if (!rank || evaluation.rank(op.getK()) != rank || evaluation.rank(op.getV()) != rank)
    return std::nullopt;
  AttentionParts parts;
  parts.op = op;
  parts.query = op.getQ();
  parts.key = op.getK();
  parts.value = op.getV();
  parts.result = op.getY();
  if (*rank == 4) {
    parts.heads = constantExtent(evaluation, op.getQ(), 1);
    parts.headDim = constantExtent(evaluation, op.getQ(), 3);
    parts.keyHeads = constantExtent(evaluation, op.getK(), 1);
    parts.valueDim = constantExtent(evaluation, op.getV(), 3);
  } else if (*rank == 3) {
    parts.queryOrder = parts.keyOrder = parts.valueOrder = Order::BLHD;
    parts.heads = op.getQNumHeads();
    parts.keyHeads = op.getKvNumHeads();
    if (parts.heads <= 0 || parts.keyHeads <= 0)
      return std::nullopt;
    parts.headDim = constantExtent(evaluation, op.getQ(), 2) / parts.heads;
    parts.valueDim = constantExtent(evaluation, op.getV(), 2) / parts.keyHeads;
  }
  if (parts.heads <= 0 || parts.headDim <= 0 || parts.keyHeads <= 0 || parts.valueDim <= 0)
    return std::nullopt;
  parts.scale = op.getScale() ? op.getScale()->convertToFloat() : 1.0 / std::sqrt(static_cast<double>(parts.headDim));
  parts.softcap = op.getSoftcap().convertToFloat();
  if (isa<TensorType>(op.getAttnMask().getType())) {
    bool isBool = getElementTypeOrSelf(op.getAttnMask()).isInteger(1);
    parts.mask.terms.push_back({op.getAttnMask(), isBool ? MaskTerm::Attend : MaskTerm::Additive});
  }
  parts.mask.isCausal = op.getIsCausal() != 0;
  parts.mask.leftWindow = op.getLeftWindowSize();
  parts.mask.rightWindow = op.getRightWindowSize();
  parts.mask.hasPast = isa<TensorType>(op.getPastKey().getType());
  return parts;
}

//===-- Views -----------------------------------------------------------------------------------------------------===//

namespace {
/// Row-major position of element (b, h, l, d).
int64_t positionOf(Order order, int64_t b, int64_t h, int64_t l, int64_t d, int64_t heads, int64_t length,
                   int64_t dim) {
  switch (order) {
  case Order::BHLD:
    return ((b * heads + h) * length + l) * dim + d;
  case Order::BLHD:
    return ((b * length + l) * heads + h) * dim + d;
  case Order::BHDL:
    return ((b * heads + h) * dim + d) * length + l;
  }
  return -1;
}

/// Whether `operand`, with `heads` heads, holds the elements of `root`, whose `rootHeads` heads serve equal groups of
/// consecutive heads, times a factor, which is returned. Checked element by element in the plain runs.
std::optional<double> readsHeads(const Evaluation &evaluation, Value operand, Order order, int64_t heads, Value root,
                                 Order rootOrder, int64_t rootHeads, int64_t dim) {
  double scale = 1.0;
  for (unsigned run = 0; run < Evaluation::kPlainRuns; ++run) {
    const HostTensor *source = evaluation.get(root, run), *target = evaluation.get(operand, run);
    int64_t batch = evaluation.assignments()[run].batch;
    if (!source || !target || source->size() > kMaxElements || target->size() > kMaxElements)
      return std::nullopt;
    int64_t length = source->size() / (batch * rootHeads * dim);
    if (source->size() != batch * rootHeads * length * dim || target->size() != batch * heads * length * dim)
      return std::nullopt;
    std::vector<double> numbers;
    for (int64_t i = 1; i <= source->size(); ++i)
      numbers.push_back(static_cast<double>(i));
    HostTensor data = HostTensor::ofFloats(source->shape, source->elementType, std::move(numbers));
    // Without an op between them they are one value.
    auto seen = operand == root ? std::optional(data) : evaluation.substitute(operand, root, data, run);
    if (!seen)
      return std::nullopt;
    int64_t group = heads / rootHeads;
    scale = 0;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t l = 0; l < length; ++l)
          for (int64_t d = 0; d < dim; ++d) {
            double got = seen->at(positionOf(order, b, h, l, d, heads, length, dim));
            double number = 1.0 + positionOf(rootOrder, b, h / group, l, d, rootHeads, length, dim);
            if (scale == 0)
              scale = got / number;
            if (std::fabs(got - scale * number) > 0.25 * std::fabs(scale))
              return std::nullopt;
          }
  }
  return scale == 0 ? std::nullopt : std::optional(scale);
}

/// The operand that `value` is a view or a constant multiple of; null when it is neither.
Value viewedOrScaled(const Evaluation &evaluation, Value value) {
  if (Value from = movedFrom(value))
    return from;
  Operation *op = value.getDefiningOp();
  if (!isa_and_nonnull<onnx::MulOp, onnx::DivOp>(op))
    return {};
  if (evaluation.constantScalar(op->getOperand(1)))
    return op->getOperand(0);
  if (isa<onnx::MulOp>(op) && evaluation.constantScalar(op->getOperand(0)))
    return op->getOperand(1);
  return {};
}
} // namespace

std::optional<Source> sparse::raise::findSource(const Evaluation &evaluation, Value operand, Order order, int64_t heads,
                                                int64_t dim) {
  // The farthest value that still has all the elements.
  std::optional<Source> found;
  for (Value root = operand; root; root = viewedOrScaled(evaluation, root))
    for (Order rootOrder : {Order::BLHD, Order::BHLD})
      if (auto scale = readsHeads(evaluation, operand, order, heads, root, rootOrder, heads, dim)) {
        found = Source{root, rootOrder, *scale};
        break;
      }
  return found;
}

std::optional<CachePort> sparse::raise::findCache(const Evaluation &evaluation, Value operand, Order order,
                                                  int64_t heads, int64_t dim, std::string &reason) {
  Value present = operand;
  while (!present.getDefiningOp<onnx::ConcatOp>()) {
    present = viewedOrScaled(evaluation, present);
    if (!present) {
      reason = "do not come from a cache: a Concat of a past input and new rows";
      return std::nullopt;
    }
  }
  auto concat = present.getDefiningOp<onnx::ConcatOp>();
  int64_t axis = concat.getAxis();
  if (evaluation.rank(present) != 4 || (axis != 2 && axis != -2) || concat.getInputs().size() != 2 ||
      !isa<BlockArgument>(concat.getInputs()[0])) {
    reason = "come from a Concat that is no cache: [batch, heads, past, dim] from an input, then new rows, on axis 2";
    return std::nullopt;
  }
  int64_t cacheHeads = constantExtent(evaluation, present, 1);
  if (cacheHeads <= 0 || heads % cacheHeads != 0 || constantExtent(evaluation, present, 3) != dim) {
    reason = "have heads that their cache's heads do not divide";
    return std::nullopt;
  }
  auto scale = readsHeads(evaluation, operand, order, heads, present, Order::BHLD, cacheHeads, dim);
  if (!scale) {
    reason = "are not the cache's heads, each repeated for a group of consecutive query heads";
    return std::nullopt;
  }
  auto fresh = findSource(evaluation, concat.getInputs()[1], Order::BHLD, cacheHeads, dim);
  if (!fresh || fresh->scale != 1.0) {
    // A factor belongs to the keys: stop before it.
    fresh = Source{concat.getInputs()[1], Order::BHLD, 1.0};
  }
  return CachePort{concat.getInputs()[0], present, fresh->value, fresh->order, cacheHeads, *scale};
}
