//===-- ModelFacts.h - What a raised model is -----------------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_MODEL_MODELFACTS_H
#define SPARSE_LIB_MODEL_MODELFACTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinTypes.h"

#include <optional>
#include <string>

namespace sparse {

/// One attention of a model in canonical form.
struct AttentionFacts {
  int64_t heads = 0, kvHeads = 0, keyDim = 0, valueDim = 0;
  double scale = 0, softcap = 0;
  /// Keys that a query sees, itself included; -1: all before it.
  int64_t window = -1;
  /// Norms of each head's queries or keys.
  bool normalisesHeads = false;
  mlir::Type cacheType;
};

/// The rotary embedding of a model, read from its tables.
struct RotaryFacts {
  /// Rows of the tables.
  int64_t positions = 0;
  /// Channels of a head that turn.
  int64_t rotatedDim = 0;
  bool interleaved = false;
  /// The base when frequency i is base^(-2i / rotatedDim); nothing when the frequencies are scaled or unknown.
  std::optional<double> theta;
  /// What the cosines and sines are multiplied with.
  double scale = 1.0;
  /// Whether this compiler derives the tables from frequencies; they are weights of the model otherwise.
  bool derived = false;
};

/// What later phases and people want to know of a model. Per layer values are in `attentions`; the members beside it
/// are the first layer's when layers differ.
struct ModelFacts {
  int64_t layers = 0, hidden = 0, vocab = 0, ffn = 0;
  llvm::SmallVector<AttentionFacts, 0> attentions;
  /// Absent without RotaryEmbedding.
  std::optional<RotaryFacts> rotary;
  /// Positions that the model can tell apart: rows of the shortest RoPE table; 0 without tables.
  int64_t maxContext = 0;
  double normEpsilon = 0;
  std::string activation;
  bool gated = false, tied = false;
  /// Elements of all weights of the file, tables aside.
  int64_t parameters = 0;
  mlir::Type weightsType;

  const AttentionFacts &attention() const { return attentions.front(); }
};

/// Reads the facts off `func`, which has canonical form; reports what is missing.
mlir::FailureOr<ModelFacts> collectModelFacts(mlir::func::FuncOp func);

} // namespace sparse

#endif
