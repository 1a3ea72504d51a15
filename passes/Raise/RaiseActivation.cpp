//===-- RaiseActivation.cpp - SiLU and GELU -----------------------------------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Rewriting.h"

#include <cmath>

namespace sparse {
#define GEN_PASS_DEF_ONNXRAISEACTIVATIONPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
bool near(double a, double b) { return std::fabs(a - b) <= 1e-5 * std::fabs(b); }

/// `value` without the constants it is multiplied or divided by, and their product.
struct Factors {
  Factors(const Evaluation &evaluation, Value start) : value(start) {
    while (Value inner = peel(evaluation))
      value = inner;
  }

  double factor = 1.0;
  Value value;

private:
  Value peel(const Evaluation &evaluation) {
    Operation *op = value.getDefiningOp();
    if (!isa_and_nonnull<onnx::MulOp, onnx::DivOp>(op))
      return {};
    if (auto constant = evaluation.constantScalar(op->getOperand(1))) {
      factor *= isa<onnx::DivOp>(op) ? 1.0 / *constant : *constant;
      return op->getOperand(0);
    }
    if (auto constant = evaluation.constantScalar(op->getOperand(0)); constant && isa<onnx::MulOp>(op)) {
      factor *= *constant;
      return op->getOperand(1);
    }
    return {};
  }
};

/// `1 + f(x)`, either way round: returns the op computing f.
template <typename OpTy>
OpTy onePlus(const Evaluation &evaluation, Value value) {
  auto add = value.getDefiningOp<onnx::AddOp>();
  if (!add)
    return {};
  for (unsigned side : {0u, 1u})
    if (auto one = evaluation.constantScalar(add->getOperand(side)); one && *one == 1.0)
      if (auto op = add->getOperand(1 - side).getDefiningOp<OpTy>())
        return op;
  return {};
}

/// x + 0.044715 x^3.
bool isCubic(const Evaluation &evaluation, Value value, Value x) {
  auto add = value.getDefiningOp<onnx::AddOp>();
  if (!add || (add.getLhs() != x && add.getRhs() != x))
    return false;
  Factors cube(evaluation, otherOperand(add, x));
  if (!near(cube.factor, 0.044715))
    return false;
  if (auto power = cube.value.getDefiningOp<onnx::PowOp>())
    return power.getLhs() == x && evaluation.constantScalar(power.getRhs()) == 3.0;
  auto outer = cube.value.getDefiningOp<onnx::MulOp>();
  if (!outer || (outer.getLhs() != x && outer.getRhs() != x))
    return false;
  auto inner = otherOperand(outer, x).getDefiningOp<onnx::MulOp>();
  return inner && inner.getLhs() == x && inner.getRhs() == x;
}

/// x * Sigmoid(alpha * x) at a Mul.
std::optional<std::pair<Value, double>> matchSwish(const Evaluation &evaluation, onnx::MulOp op) {
  for (Value side : {op.getRhs(), op.getLhs()})
    if (auto sigmoid = side.getDefiningOp<onnx::SigmoidOp>()) {
      Value x = otherOperand(op, side);
      if (sigmoid.getInput() == x)
        return std::pair(x, 1.0);
      Factors inner(evaluation, sigmoid.getInput());
      if (inner.value == x)
        return std::pair(x, inner.factor);
    }
  return std::nullopt;
}

/// 0.5 * x * (1 + Erf(x / sqrt 2)), or with Tanh(sqrt(2 / pi) * (x + 0.044715 x^3)), in any association, at the
/// outermost Mul.
std::optional<std::pair<Value, StringRef>> matchGelu(const Evaluation &evaluation, onnx::MulOp op) {
  // Collect the factors of the product, looking through Muls.
  double factor = 1.0;
  SmallVector<Value> terms, work{op.getLhs(), op.getRhs()};
  while (!work.empty()) {
    Factors part(evaluation, work.pop_back_val());
    factor *= part.factor;
    if (auto constant = evaluation.constantScalar(part.value))
      factor *= *constant;
    else if (auto mul = part.value.getDefiningOp<onnx::MulOp>(); mul && mul->hasOneUse())
      work.append({mul.getLhs(), mul.getRhs()});
    else
      terms.push_back(part.value);
  }
  if (terms.size() != 2 || !near(factor, 0.5))
    return std::nullopt;
  for (unsigned side : {0u, 1u}) {
    Value x = terms[1 - side];
    if (auto erf = onePlus<onnx::ErfOp>(evaluation, terms[side])) {
      Factors inner(evaluation, erf.getInput());
      if (inner.value == x && near(inner.factor, std::sqrt(0.5)))
        return std::pair(x, StringRef("none"));
    }
    if (auto tanh = onePlus<onnx::TanhOp>(evaluation, terms[side])) {
      Factors inner(evaluation, tanh.getInput());
      if (near(inner.factor, std::sqrt(2.0 / M_PI)) && isCubic(evaluation, inner.value, x))
        return std::pair(x, StringRef("tanh"));
    }
  }
  return std::nullopt;
}

struct RaiseActivation : sparse::impl::OnnxRaiseActivationPassBase<RaiseActivation> {
  void runOnOperation() override {
    for (func::FuncOp func : functionsOf(getOperation())) {
      Evaluation evaluation(func);
      for (auto op : llvm::to_vector(func.getOps<onnx::MulOp>())) {
        OpBuilder builder(op);
        Value raised;
        if (auto swish = matchSwish(evaluation, op))
          raised = onnx::SwishOp::create(builder, op.getLoc(), op.getType(), swish->first,
                                         builder.getF32FloatAttr(swish->second));
        else if (auto gelu = matchGelu(evaluation, op))
          raised = onnx::GeluOp::create(builder, op.getLoc(), op.getType(), gelu->first,
                                        builder.getStringAttr(gelu->second));
        if (raised)
          op.getResult().replaceAllUsesWith(raised);
      }
      cleanUp(func);
    }
  }
};
} // namespace
