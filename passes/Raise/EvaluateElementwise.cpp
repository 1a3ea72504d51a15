//===-- EvaluateElementwise.cpp - Elementwise operators of the evaluator ------------------------------------------===//
#include "dialects/ONNX/ONNX.h"
#include "passes/Raise/Evaluator.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
using Operands = ArrayRef<const HostTensor *>;

/// How one operator computes an element from its operands' elements, in doubles and in integers. The integer form may
/// be absent: the operator is then computed in doubles whatever the operand type.
struct Kernel {
  std::function<double(ArrayRef<double>)> onFloats;
  std::function<int64_t(ArrayRef<int64_t>)> onInts;
};

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Integers wrap around, and nothing traps: the operands come from a file.
int64_t add(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
int64_t multiply(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
int64_t negate(int64_t a) { return multiply(a, -1); }
int64_t divide(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? negate(a) : a / b; }

int64_t modulo(int64_t a, int64_t b, bool signOfDividend) {
  if (b == 0 || b == -1)
    return 0;
  int64_t r = a % b;
  return !signOfDividend && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = exponent < 0 ? 0 : 1;
  // By squaring: an exponent may be anything.
  for (; exponent > 0; exponent >>= 1, base = multiply(base, base))
    if (exponent & 1)
      result = multiply(result, base);
  return result;
}

#define UNARY(EXPR)                                                                                                    \
  Kernel {                                                                                                             \
    [=](ArrayRef<double> v) -> double {                                                                                \
      double x = v[0];                                                                                                 \
      return EXPR;                                                                                                     \
    },                                                                                                                 \
        nullptr                                                                                                        \
  }
#define UNARY_BOTH(EXPR)                                                                                               \
  Kernel {                                                                                                             \
    [=](ArrayRef<double> v) -> double {                                                                                \
      auto x = v[0];                                                                                                   \
      return EXPR;                                                                                                     \
    },                                                                                                                 \
        [=](ArrayRef<int64_t> v) -> int64_t {                                                                          \
          auto x = v[0];                                                                                               \
          return EXPR;                                                                                                 \
        }                                                                                                              \
  }
#define BINARY_BOTH(EXPR)                                                                                              \
  Kernel {                                                                                                             \
    [=](ArrayRef<double> v) -> double {                                                                                \
      auto a = v[0], b = v[1];                                                                                         \
      return EXPR;                                                                                                     \
    },                                                                                                                 \
        [=](ArrayRef<int64_t> v) -> int64_t {                                                                          \
          auto a = v[0], b = v[1];                                                                                     \
          return EXPR;                                                                                                 \
        }                                                                                                              \
  }

std::optional<Kernel> kernelOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, std::optional<Kernel>>(op)
      .Case([](onnx::AbsOp) {
        return Kernel{[](ArrayRef<double> v) { return std::fabs(v[0]); },
                      [](ArrayRef<int64_t> v) { return v[0] < 0 ? negate(v[0]) : v[0]; }};
      })
      .Case([](onnx::NegOp) {
        return Kernel{[](ArrayRef<double> v) { return -v[0]; }, [](ArrayRef<int64_t> v) { return negate(v[0]); }};
      })
      .Case([](onnx::NotOp) { return UNARY_BOTH(x == 0); })
      .Case([](onnx::CeilOp) { return UNARY(std::ceil(x)); })
      .Case([](onnx::FloorOp) { return UNARY(std::floor(x)); })
      .Case([](onnx::CosOp) { return UNARY(std::cos(x)); })
      .Case([](onnx::SinOp) { return UNARY(std::sin(x)); })
      .Case([](onnx::ErfOp) { return UNARY(std::erf(x)); })
      .Case([](onnx::ExpOp) { return UNARY(std::exp(x)); })
      .Case([](onnx::LogOp) { return UNARY(std::log(x)); })
      .Case([](onnx::SqrtOp) { return UNARY(std::sqrt(x)); })
      .Case([](onnx::ReciprocalOp) { return UNARY(1.0 / x); })
      .Case([](onnx::TanhOp) { return UNARY(std::tanh(x)); })
      .Case([](onnx::SigmoidOp) { return UNARY(sigmoid(x)); })
      .Case([](onnx::ReluOp) { return UNARY_BOTH(x < 0 ? 0 : x); })
      .Case([](onnx::IsNaNOp) { return UNARY(std::isnan(x)); })
      .Case([](onnx::IsInfOp op) {
        bool negative = op.getDetectNegative(), positive = op.getDetectPositive();
        return UNARY(std::isinf(x) && (x < 0 ? negative : positive));
      })
      .Case([](onnx::SwishOp op) {
        double alpha = op.getAlpha().convertToFloat();
        return UNARY(x * sigmoid(alpha * x));
      })
      .Case([](onnx::AddOp) {
        return Kernel{[](ArrayRef<double> v) { return v[0] + v[1]; },
                      [](ArrayRef<int64_t> v) { return add(v[0], v[1]); }};
      })
      .Case([](onnx::SubOp) {
        return Kernel{[](ArrayRef<double> v) { return v[0] - v[1]; },
                      [](ArrayRef<int64_t> v) { return add(v[0], negate(v[1])); }};
      })
      .Case([](onnx::MulOp) {
        return Kernel{[](ArrayRef<double> v) { return v[0] * v[1]; },
                      [](ArrayRef<int64_t> v) { return multiply(v[0], v[1]); }};
      })
      .Case([](onnx::DivOp) {
        return Kernel{[](ArrayRef<double> v) { return v[0] / v[1]; },
                      [](ArrayRef<int64_t> v) { return divide(v[0], v[1]); }};
      })
      .Case([](onnx::ModOp op) {
        bool fmod = op.getFmod();
        return Kernel{[](ArrayRef<double> v) { return std::fmod(v[0], v[1]); },
                      [fmod](ArrayRef<int64_t> v) { return modulo(v[0], v[1], fmod); }};
      })
      .Case([](onnx::PowOp) {
        return Kernel{[](ArrayRef<double> v) { return std::pow(v[0], v[1]); },
                      [](ArrayRef<int64_t> v) { return power(v[0], v[1]); }};
      })
      .Case([](onnx::AndOp) { return BINARY_BOTH(a != 0 && b != 0); })
      .Case([](onnx::OrOp) { return BINARY_BOTH(a != 0 || b != 0); })
      .Case([](onnx::EqualOp) { return BINARY_BOTH(a == b); })
      .Case([](onnx::GreaterOp) { return BINARY_BOTH(a > b); })
      .Case([](onnx::GreaterOrEqualOp) { return BINARY_BOTH(a >= b); })
      .Case([](onnx::LessOp) { return BINARY_BOTH(a < b); })
      .Case([](onnx::LessOrEqualOp) { return BINARY_BOTH(a <= b); })
      .Case([](onnx::WhereOp) {
        return Kernel{[](ArrayRef<double> v) { return v[0] != 0 ? v[1] : v[2]; },
                      [](ArrayRef<int64_t> v) { return v[0] != 0 ? v[1] : v[2]; }};
      })
      .Case([](onnx::MaxOp) {
        return Kernel{[](ArrayRef<double> v) { return *llvm::max_element(v); },
                      [](ArrayRef<int64_t> v) { return *llvm::max_element(v); }};
      })
      .Case([](onnx::MinOp) {
        return Kernel{[](ArrayRef<double> v) { return *llvm::min_element(v); },
                      [](ArrayRef<int64_t> v) { return *llvm::min_element(v); }};
      })
      .Case<onnx::CastOp, onnx::CastLikeOp>([](Operation *) {
        return Kernel{[](ArrayRef<double> v) { return v[0]; }, [](ArrayRef<int64_t> v) { return v[0]; }};
      })
      .Default([](Operation *) { return std::nullopt; });
}
#undef UNARY
#undef UNARY_BOTH
#undef BINARY_BOTH

} // namespace

std::optional<HostTensor> sparse::raise::evaluateElementwise(Operation *op, Operands operands) {
  Type elementType = resultElementType(op, 0);
  if (isa<onnx::GeluOp>(op))
    return HostTensor::ofShape(operands[0]->shape, elementType);
  std::optional<Kernel> kernel = kernelOf(op);
  if (!kernel || operands.empty() || llvm::is_contained(operands, nullptr))
    return std::nullopt;

  // CastLike reads its second operand for the type only.
  if (isa<onnx::CastLikeOp>(op))
    operands = operands.take_front();
  SmallVector<int64_t> shape(operands[0]->shape);
  for (const HostTensor *operand : operands.drop_front()) {
    auto both = broadcastShape(shape, operand->shape);
    if (!both)
      return std::nullopt;
    shape = *both;
  }
  HostTensor result = HostTensor::ofShape(shape, elementType);
  if (!llvm::all_of(operands, [](const HostTensor *operand) { return operand->hasData(); }) ||
      result.size() > kMaxElements)
    return result;

  bool integral = kernel->onInts && llvm::none_of(operands, [](const HostTensor *o) { return o->isFloat(); });
  std::vector<double> floats;
  std::vector<int64_t> ints;
  SmallVector<double> x(operands.size());
  SmallVector<int64_t> n(operands.size());
  forEachIndex(shape, [&](ArrayRef<int64_t> index, int64_t) {
    for (auto [i, operand] : llvm::enumerate(operands)) {
      int64_t offset = broadcastOffset(operand->shape, index);
      if (integral)
        n[i] = operand->intAt(offset);
      else
        x[i] = operand->at(offset);
    }
    if (result.isFloat())
      floats.push_back(integral ? static_cast<double>(kernel->onInts(n)) : kernel->onFloats(x));
    else if (integral)
      ints.push_back(kernel->onInts(n));
    else
      ints.push_back(elementType.isInteger(1) ? kernel->onFloats(x) != 0 : toInteger(kernel->onFloats(x)));
  });
  return result.isFloat() ? HostTensor::ofFloats(shape, elementType, std::move(floats))
                          : HostTensor::ofInts(shape, elementType, std::move(ints));
}
