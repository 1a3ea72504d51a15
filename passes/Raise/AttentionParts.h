//===-- AttentionParts.h - Attention as a graph spells it -----------------------------------------------*- C++ -*-===//
#ifndef SPARSE_PASSES_RAISE_ATTENTIONPARTS_H
#define SPARSE_PASSES_RAISE_ATTENTIONPARTS_H

#include "passes/Raise/MaskPredicate.h"

namespace sparse::raise {

/// Order of the elements of a tensor of heads, whatever its shape. L is a length (queries or keys).
enum class Order { BHLD, BLHD, BHDL };

/// One spelling of attention: operands as they enter the products.
struct AttentionParts {
  mlir::Operation *op; // the last one; for messages and the place of the new op
  mlir::Value query, key, value;
  Order queryOrder = Order::BHLD, keyOrder = Order::BHLD, valueOrder = Order::BHLD;
  int64_t heads = 0, headDim = 0, valueDim = 0;
  /// Heads of `key` and `value` as they enter.
  int64_t keyHeads = 0;
  double scale = 1.0, softcap = 0.0;
  MaskTerms mask;
  mlir::Value result; // BHLD in 4-D or BLHD in 3-D
};

/// Softmax(scale * query * key' + mask) * value around `softmax`; nothing when it isn't attention.
std::optional<AttentionParts> matchDecomposed(const Evaluation &evaluation, mlir::Operation *softmax);
/// The parts of an `onnx.Attention` of any form.
std::optional<AttentionParts> partsOfAttention(const Evaluation &evaluation, mlir::Operation *op);

/// A cache and what a step adds to it, found behind keys or values.
struct CachePort {
  mlir::Value past;    // an argument, [B, Hk, P, D]
  mlir::Value present; // past and new rows, [B, Hk, T, D]
  mlir::Value fresh;   // the new rows, with their order
  Order freshOrder;
  int64_t heads;
  double scale; // a factor between the cache and the product
};

/// Finds the cache behind `operand`, whose order is `order` with `heads` heads of width `dim`: a Concat of an argument
/// and new rows, repeated to the heads in groups. On failure `reason` says what is missing.
std::optional<CachePort> findCache(const Evaluation &evaluation, mlir::Value operand, Order order, int64_t heads,
                                   int64_t dim, std::string &reason);

/// A value without views and constant factors around it, and their product.
struct Source {
  mlir::Value value;
  Order order;
  double scale;
};
/// What `operand` with `order` is a view of: a value whose elements are ordered by heads or by positions.
std::optional<Source> findSource(const Evaluation &evaluation, mlir::Value operand, Order order, int64_t heads,
                                 int64_t dim);

} // namespace sparse::raise

#endif
