//===-- PackWeights.h - Recipes of packed weights --------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_FUSE_PACKWEIGHTS_H
#define SPARSE_PASSES_FUSE_PACKWEIGHTS_H

#include "dialects/ONNX/ONNX.h"
#include "mlir/IR/BuiltinOps.h"

namespace sparse {

/// Makes packed recipes of weights, one per distinct recipe: a tied embedding and head share theirs.
class WeightPacker {
public:
  WeightPacker(mlir::ModuleOp module, mlir::Type elementType, int64_t widestPanel)
      : module(module), symbols(module), elementType(elementType), widestPanel(widestPanel) {}

  /// Symbol of `weight` ([K, N], or [N, K] with `transposed`) packed as [N / panel, K, panel], and its type. The panel
  /// is the widest that divides N. Null when `weight` reads no symbol.
  std::pair<mlir::FlatSymbolRefAttr, mlir::RankedTensorType> pack(mlir::Value weight, bool transposed);

  /// The same for several weights [K, N1], [K, N2], … side by side: one of [K, N1 + N2 + …].
  std::pair<mlir::FlatSymbolRefAttr, mlir::RankedTensorType> packTogether(llvm::ArrayRef<mlir::Value> weights);

private:
  std::pair<mlir::FlatSymbolRefAttr, mlir::RankedTensorType> make(mlir::Location loc, llvm::StringRef stem,
                                                                  mlir::StringAttr after, mlir::ArrayAttr sources,
                                                                  llvm::SmallVector<mlir::Attribute> steps, int64_t k,
                                                                  int64_t n, mlir::Type from);

  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
  mlir::Type elementType;
  int64_t widestPanel;
  llvm::DenseMap<mlir::Attribute, mlir::StringAttr> made; // (sources, steps) -> symbol
};

} // namespace sparse

#endif
