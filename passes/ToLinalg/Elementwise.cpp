//===-- Elementwise.cpp - The scalar meaning of elementwise ops ---------------------------------------------------===//
#include "passes/ToLinalg/Elementwise.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace sparse;

/// 1 / (1 + exp(-x)).
static Value sigmoid(OpBuilder &b, Location loc, Value x) {
  Value one = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(1));
  Value exp = math::ExpOp::create(b, loc, arith::NegFOp::create(b, loc, x));
  return arith::DivFOp::create(b, loc, one, arith::AddFOp::create(b, loc, one, exp));
}

Value sparse::lowering::scalarOf(OpBuilder &b, Location loc, Operation *op, ValueRange a) {
  auto constant = [&](double value) -> Value {
    return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
  };
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](onnx::AddOp) { return arith::AddFOp::create(b, loc, a[0], a[1]); })
      .Case([&](onnx::SubOp) { return arith::SubFOp::create(b, loc, a[0], a[1]); })
      .Case([&](onnx::MulOp) { return arith::MulFOp::create(b, loc, a[0], a[1]); })
      .Case([&](onnx::DivOp) { return arith::DivFOp::create(b, loc, a[0], a[1]); })
      .Case([&](onnx::CastOp) { return a[0]; }) // between float types: the kernel rounds when it stores
      .Case([&](onnx::NegOp) { return arith::NegFOp::create(b, loc, a[0]); })
      .Case([&](onnx::ExpOp) { return math::ExpOp::create(b, loc, a[0]); })
      .Case([&](onnx::TanhOp) { return math::TanhOp::create(b, loc, a[0]); })
      .Case([&](onnx::ReluOp) { return arith::MaximumFOp::create(b, loc, a[0], constant(0)); })
      .Case([&](onnx::SigmoidOp) { return sigmoid(b, loc, a[0]); })
      .Case([&](onnx::SwishOp swish) -> Value {
        float alpha = swish.getAlpha().convertToFloat();
        Value inner = alpha == 1.0f ? a[0] : Value(arith::MulFOp::create(b, loc, a[0], constant(alpha)));
        return arith::MulFOp::create(b, loc, a[0], sigmoid(b, loc, inner));
      })
      .Case([&](onnx::GeluOp gelu) -> Value {
        Value x = a[0], inner;
        if (gelu.getApproximate() == "tanh") {
          Value cube = arith::MulFOp::create(b, loc, x, arith::MulFOp::create(b, loc, x, x));
          Value sum = arith::AddFOp::create(b, loc, x, arith::MulFOp::create(b, loc, cube, constant(0.044715)));
          inner = math::TanhOp::create(b, loc, arith::MulFOp::create(b, loc, sum, constant(std::sqrt(2 / M_PI))));
        } else {
          inner = math::ErfOp::create(b, loc, arith::MulFOp::create(b, loc, x, constant(std::sqrt(0.5))));
        }
        Value one = arith::AddFOp::create(b, loc, inner, constant(1));
        return arith::MulFOp::create(b, loc, arith::MulFOp::create(b, loc, x, constant(0.5)), one);
      })
      .Default([](Operation *) { return Value(); });
}

bool sparse::lowering::isElementwise(Operation *op) {
  return isa<onnx::AddOp, onnx::SubOp, onnx::MulOp, onnx::DivOp, onnx::CastOp, onnx::NegOp, onnx::ExpOp, onnx::TanhOp,
             onnx::ReluOp, onnx::SigmoidOp, onnx::SwishOp, onnx::GeluOp>(op);
}
