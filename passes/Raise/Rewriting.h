//===-- Rewriting.h - Small tools of the raise passes ---------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_REWRITING_H
#define SPARSE_PASSES_RAISE_REWRITING_H

#include "dialects/ONNX/ONNX.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/SymbolTable.h"

namespace sparse::raise {

class Evaluation;

/// Functions of `module` with a body.
llvm::SmallVector<mlir::func::FuncOp> functionsOf(mlir::ModuleOp module);

/// Erases every operator without uses, of any kind (ONNX operators have no effects), and gives the function the types
/// that it now returns.
void cleanUp(mlir::func::FuncOp func);
/// Gives every value the ranked type that its evaluations agree on.
void setRankedTypes(mlir::func::FuncOp func);
/// Erases weights that nothing reads.
void eraseDeadWeights(mlir::ModuleOp module);

/// Name of the node an op came from; empty when it has none.
std::string nodeName(mlir::Operation *op);

mlir::Value makeConstant(mlir::OpBuilder &builder, mlir::Location loc, llvm::ArrayRef<int64_t> values);
mlir::Value makeReshape(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, llvm::ArrayRef<int64_t> shape);
mlir::Value makeTranspose(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value,
                          llvm::ArrayRef<int64_t> perm);

/// [B, H, S, D] to [B, S, H * D], and back to H heads of D.
mlir::Value mergeHeads(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, int64_t heads, int64_t dim);
mlir::Value splitHeads(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, int64_t heads, int64_t dim);

/// Reads a new weight symbol `name` (made unique) that `steps` derive from `sources`.
mlir::Value makeDerived(mlir::OpBuilder &builder, mlir::Location loc, mlir::SymbolTable &symbols, llvm::StringRef name,
                        llvm::ArrayRef<mlir::Attribute> sources, llvm::ArrayRef<mlir::Attribute> steps,
                        mlir::RankedTensorType type);

/// Reads `weight` with `steps` applied; the symbol's name gets `suffix`. Steps on a recipe make one longer recipe.
mlir::Value makeRecipe(mlir::OpBuilder &builder, mlir::Location loc, mlir::SymbolTable &symbols, mlir::Value weight,
                       llvm::ArrayRef<mlir::Attribute> steps, llvm::StringRef suffix, mlir::RankedTensorType type);
/// Transpose, Reshape, Slice, Split and Cast of weights become recipes.
void foldWeightMovements(mlir::func::FuncOp func, mlir::SymbolTable &symbols);

/// `value` as a weight symbol: itself when it is one, an inline initializer when it is a constant vector (named
/// after the constant, else `fallback`); null for anything else.
mlir::Value asWeight(mlir::OpBuilder &builder, mlir::SymbolTable &symbols, const Evaluation &evaluation,
                     mlir::Value value, llvm::StringRef fallback);

/// The argument position_ids; added at the end when the function has none.
mlir::Value getPositionIds(mlir::func::FuncOp func);

/// Operand of `op` other than `operand`; `op` is binary.
inline mlir::Value otherOperand(mlir::Operation *op, mlir::Value operand) {
  return op->getOperand(op->getOperand(0) == operand ? 1 : 0);
}

} // namespace sparse::raise

#endif
