//===-- HostTensor.h - Concrete tensors of the evaluator ------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_HOSTTENSOR_H
#define SPARSE_PASSES_RAISE_HOSTTENSOR_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace sparse::raise {

/// More elements than this are never computed: nothing that recognition looks at is larger.
constexpr int64_t kMaxElements = int64_t(1) << 20;

/// `value` as an integer, the nearest one that there is.
int64_t toInteger(double value);

/// A tensor with a concrete shape and, when they are known and few, its elements. Floating-point elements are held as
/// doubles already rounded to `elementType`, all others as int64.
struct HostTensor {
  llvm::SmallVector<int64_t> shape;
  mlir::Type elementType;
  std::shared_ptr<const std::vector<double>> floats;
  std::shared_ptr<const std::vector<int64_t>> ints;

  int64_t rank() const { return shape.size(); }
  int64_t size() const;
  bool isFloat() const { return llvm::isa<mlir::FloatType>(elementType); }
  bool hasData() const { return floats || ints; }
  /// Element `i` in row-major order. The tensor has data.
  double at(int64_t i) const { return floats ? (*floats)[i] : static_cast<double>((*ints)[i]); }
  int64_t intAt(int64_t i) const { return ints ? (*ints)[i] : toInteger((*floats)[i]); }

  static HostTensor ofShape(llvm::ArrayRef<int64_t> shape, mlir::Type elementType);
  static HostTensor ofInts(llvm::ArrayRef<int64_t> shape, mlir::Type elementType, std::vector<int64_t> values);
  /// Rounds every value to `elementType`.
  static HostTensor ofFloats(llvm::ArrayRef<int64_t> shape, mlir::Type elementType, std::vector<double> values);
  /// The elements of a constant; only its shape when they are too many.
  static HostTensor ofAttribute(mlir::ElementsAttr attribute);

  /// Whether shape, type and elements are the same. Both have data.
  bool sameAs(const HostTensor &other) const;
  /// The tensor as a constant. It has data.
  mlir::DenseElementsAttr toAttribute() const;
};

/// Product of extents; the largest int64 when it is larger.
int64_t elementCount(llvm::ArrayRef<int64_t> shape);

/// An axis counted from the front.
inline int64_t fromFront(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }

/// `value` rounded to nearest even in `type`.
double roundTo(mlir::Type type, double value);

/// The shape both operands broadcast to; nothing when they don't.
std::optional<llvm::SmallVector<int64_t>> broadcastShape(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);

/// Row-major position in a tensor of shape `from` of the element that broadcasting puts at `index`.
int64_t broadcastOffset(llvm::ArrayRef<int64_t> from, llvm::ArrayRef<int64_t> index);

/// Calls `body(index, position)` for every index of `shape` in row-major order.
void forEachIndex(llvm::ArrayRef<int64_t> shape, llvm::function_ref<void(llvm::ArrayRef<int64_t>, int64_t)> body);

} // namespace sparse::raise

#endif
