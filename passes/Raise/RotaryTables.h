//===-- RotaryTables.h - Cosine and sine tables of rotary embeddings ------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_ROTARYTABLES_H
#define SPARSE_PASSES_RAISE_ROTARYTABLES_H

#include "passes/Raise/Evaluation.h"
#include "passes/Raise/Rewriting.h"

namespace sparse::raise {

/// The cosines and sines that a rotation multiplies with, as the graph has them. Element (b, s, i) of either stands at
/// the broadcast of `index(b, s, i)`.
struct Rotation {
  mlir::Operation *op; // for messages
  mlir::Value cos, sin;
  /// Pairs that turn, half the rotated width.
  int64_t half;
  /// Whether angle i + half repeats angle i (the half-split form written out).
  bool repeated;
  std::function<llvm::SmallVector<int64_t>(int64_t, int64_t, int64_t)> index;
};

/// Finds or makes tables [positions, half], indexed by position_ids, that hold the values of a rotation.
class RotaryTables {
public:
  RotaryTables(mlir::func::FuncOp func, const Evaluation &evaluation, mlir::SymbolTable &symbols, int64_t maxContext)
      : func(func), evaluation(evaluation), symbols(symbols), maxContext(maxContext) {}

  struct Tables {
    mlir::Value cos, sin;
  };
  /// Weight values placed by `builder`; reports why there are none.
  mlir::FailureOr<Tables> get(mlir::OpBuilder &builder, const Rotation &rotation);

private:
  /// What all elements of one function (cosine or sine) come from.
  struct Frequencies {
    llvm::SmallVector<float> inverse;
    double scale;
  };
  mlir::Value gatheredTable(mlir::OpBuilder &builder, const Rotation &rotation, mlir::Value value);
  mlir::FailureOr<Frequencies> frequencies(const Rotation &rotation);
  mlir::LogicalResult check(const Rotation &rotation, const Frequencies &frequencies);
  mlir::Value derivedTable(mlir::OpBuilder &builder, const Rotation &rotation, const Frequencies &frequencies,
                           bool isSine);

  mlir::func::FuncOp func;
  const Evaluation &evaluation;
  mlir::SymbolTable &symbols;
  int64_t maxContext;
};

} // namespace sparse::raise

#endif
