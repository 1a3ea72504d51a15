//===-- Streaming.cpp - Sinks and a window ------------------------------------------------------------------------===//
//
// G. Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453.
//
//===--------------------------------------------------------------------------------------------------------------===//
#include "dialects/Sparsity/Policies/Policies.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

using namespace mlir;
using namespace sparse::sparsity;
using namespace sparse;

const PolicySpec &StreamingAttr::getSpec() {
  using Kind = ParameterSpec::Kind;
  static const PolicySpec spec{"streaming",
                               PolicyKind::KV,
                               "the first tokens and the most recent ones stay, all others leave",
                               "StreamingLLM, arXiv 2309.17453",
                               {{"sinks", Kind::Integer, "first tokens that always stay", 4, "", {}, 0},
                                {"window", Kind::Budget, "most recent tokens that stay", 512, "", {}, 1},
                                {"heads", Kind::Heads, "KV heads it governs; all when empty"}}};
  return spec;
}

LogicalResult StreamingAttr::verify(function_ref<InFlightDiagnostic()> emitError, DictionaryAttr params) {
  return verifyParams(emitError, getSpec(), params);
}

std::string StreamingAttr::whyNot(const LayerFacts &facts) const { return whyNotHeads(getHeads(), facts); }
std::string StreamingAttr::whyNotWith(Attribute other) const {
  return whyNotSameHeads(KVPolicyInterface(*this), other);
}

ArrayRef<int64_t> StreamingAttr::getHeads() const {
  return getParams().getAs<DenseI64ArrayAttr>("heads").asArrayRef();
}
int64_t StreamingAttr::getCap() const { return intParam(getParams(), "sinks") + intParam(getParams(), "window"); }
kvcache::PrefillCap StreamingAttr::getPrefillCap() const { return kvcache::PrefillCap::Chunk; }
bool StreamingAttr::mayCompactLater() const { return true; }

/// Whether `keyPos` is a sink or within the window that ends at `queryPos`.
static Value isKept(OpBuilder &b, Location loc, StreamingAttr policy, Value queryPos, Value keyPos) {
  Value sinks = i32Constant(b, loc, intParam(policy.getParams(), "sinks"));
  Value window = i32Constant(b, loc, intParam(policy.getParams(), "window"));
  Value sink = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, keyPos, sinks);
  Value age = arith::SubIOp::create(b, loc, queryPos, keyPos);
  Value recent = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, age, window);
  return arith::OrIOp::create(b, loc, sink, recent);
}

Value StreamingAttr::buildVisible(OpBuilder &b, Location loc, Value queryPos, Value keyPos) const {
  return isKept(b, loc, *this, queryPos, keyPos);
}

Value StreamingAttr::buildKey(OpBuilder &b, Location loc, Value keyPos, Value newestPos, ValueRange, Value) const {
  // Any constant evicts the oldest of the unprotected: ties go to the older slot.
  Value kept = isKept(b, loc, *this, newestPos, keyPos);
  return arith::SelectOp::create(b, loc, kept, f32Constant(b, loc, std::numeric_limits<float>::infinity()),
                                 f32Constant(b, loc, 0.0));
}
