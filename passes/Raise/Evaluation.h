//===-- Evaluation.h - A function under several concrete inputs -----------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_EVALUATION_H
#define SPARSE_PASSES_RAISE_EVALUATION_H

#include "passes/Raise/HostTensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

namespace sparse::raise {

/// The sizes of one evaluation, and what its integer inputs hold.
struct Assignment {
  int64_t batch, sequence, past;
  /// attention_mask has zeros; it is all ones otherwise.
  bool padded = false;
  /// position_ids are arbitrary; they count from `past` otherwise.
  bool scattered = false;

  int64_t total() const { return past + sequence; }
  /// Whether key `key` of batch row `row` is a token and not padding.
  bool isToken(int64_t row, int64_t key) const;
  /// Position of query `query` of batch row `row`.
  int64_t position(int64_t row, int64_t query) const;
};

/// What an argument of a decoder's function is.
enum class Input { InputIds, AttentionMask, PositionIds, Past, Other };

/// Name of argument `index` in the ONNX file, or empty.
llvm::StringRef inputName(mlir::func::FuncOp func, unsigned index);
Input inputKind(mlir::func::FuncOp func, unsigned index);

/// Extents in the evaluated sizes' terms.
struct Extent {
  enum Kind { Constant, Batch, Sequence, Past, Total, Unknown } kind = Unknown;
  int64_t value = 0; // of a Constant
};

/// A function run forward under several assignments. Sizes differ between them and are coprime where they can be, so
/// that what is equal in all of them doesn't depend on the sizes, and an extent can be told from its values.
/// Recognition by values instead of by syntax: whatever arithmetic an exporter wrote for a shape, a mask or an angle,
/// only what comes out counts.
///
/// An Evaluation describes the function as it was when it was made; values of ops made later are unknown to it.
class Evaluation {
public:
  explicit Evaluation(mlir::func::FuncOp func, int64_t maxContext = 8192);

  llvm::ArrayRef<Assignment> assignments() const { return runs; }
  /// Runs with small sizes and no special inputs, good enough to follow movements of elements.
  static constexpr unsigned kPlainRuns = 2;

  const HostTensor *get(mlir::Value value, unsigned run) const;
  /// The elements of a value that is the same in every run; null when it isn't or is unknown.
  const HostTensor *constant(mlir::Value value) const;
  /// The only element of a constant, or the one that all its elements equal.
  std::optional<double> constantScalar(mlir::Value value) const;

  std::optional<int64_t> rank(mlir::Value value) const;
  Extent extent(mlir::Value value, int64_t axis) const;
  /// Whether the value is known in every run and has these extents (-1: any).
  bool hasConstantExtent(mlir::Value value, int64_t axis, int64_t extent) const;
  /// The type with the extents that are constant; null when the value is unknown.
  mlir::RankedTensorType typeOf(mlir::Value value) const;

  /// Element order of `value` relative to `root`, from which it comes by movements only: for each element of `value`
  /// the row-major position in `root`. Nothing when other operators stand between them.
  std::optional<HostTensor> orderOf(mlir::Value value, mlir::Value root, unsigned run) const;
  /// Whether `value` holds the elements of `root` in the same order (whatever the shapes).
  bool isSameOrder(mlir::Value value, mlir::Value root) const;

  /// What `value` would be in `run` if `root` were `data`. Nothing when it can't be told or doesn't depend on `root`.
  std::optional<HostTensor> substitute(mlir::Value value, mlir::Value root, const HostTensor &data, unsigned run) const;

private:
  using Values = llvm::DenseMap<mlir::Value, HostTensor>;
  void run(mlir::func::FuncOp func, const Assignment &assignment, Values &values);

  llvm::SmallVector<Assignment> runs;
  std::vector<Values> valuesOf;
};

/// The data operand of a movement, a scalar-free step towards the value that elements come from; null when the defining
/// op of `value` computes something.
mlir::Value movedFrom(mlir::Value value);
/// Follows movedFrom to its end.
mlir::Value rootOfMovements(mlir::Value value);

} // namespace sparse::raise

#endif
