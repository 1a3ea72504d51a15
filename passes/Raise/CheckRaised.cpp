//===-- CheckRaised.cpp - What is not in canonical form -----------------------------------------------------------===//
#include "passes/Raise/CheckRaised.h"
#include "passes/Passes.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXCHECKRAISEDPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

namespace {
/// Weights through their symbol.
bool isWeight(Value value) { return static_cast<bool>(onnx::weightSymbolOf(value)); }

std::string whyNotAttention(onnx::AttentionOp op) {
  auto type = dyn_cast<RankedTensorType>(op.getQ().getType());
  if (!type || type.getRank() != 3)
    return "is not on [batch, sequence, width]";
  if (!isa<BlockArgument>(op.getPastKey()) || !isa<BlockArgument>(op.getPastValue()))
    return "has no past key and value inputs";
  if (isa<TensorType>(op.getAttnMask().getType()))
    return "has a mask that is no predicate";
  if (isa<TensorType>(op.getNonpadKvSeqlen().getType()))
    return "has a static cache (nonpad_kv_seqlen), which is not supported yet";
  if (op.getIsCausal() != 1)
    return "is not causal";
  if (static_cast<int64_t>(op.getRightWindowSize()) > 0)
    return "sees keys after the query (right_window_size)";
  if (op.getQkMatmulOutputMode() != 0 || !op.getQkMatmulOutput().use_empty())
    return "returns its scores (qk_matmul_output)";
  return {};
}

std::string whyNotRotary(onnx::RotaryEmbeddingOp op) {
  auto type = dyn_cast<RankedTensorType>(op.getX().getType());
  if (!type || type.getRank() != 3)
    return "is not on [batch, sequence, width]";
  if (!isWeight(op.getCosCache()) || !isWeight(op.getSinCache()))
    return "has cosines and sines that are no table weights";
  if (!isa<BlockArgument>(op.getPositionIds()))
    return "is not indexed by position_ids";
  if (op.getInterleaved() != 0)
    return "rotates neighbouring pairs (interleaved), which is not supported yet";
  return {};
}

std::string whyNotGather(onnx::GatherOp op) {
  if (!isWeight(op.getData()) || op.getAxis() != 0 || !isa<BlockArgument>(op.getIndices()))
    return "is no embedding: rows of a weight by input_ids";
  return {};
}

std::string whyNotNorm(onnx::RMSNormalizationOp op) {
  if (!isWeight(op.getScale()))
    return "has a scale that is no weight";
  auto type = dyn_cast<RankedTensorType>(op.getX().getType());
  if (!type || type.getRank() != 3)
    return "is not on [batch, sequence, width]";
  int64_t axis = op.getAxis();
  return axis == -1 || axis == 2 ? "" : "normalises other axes than the last";
}

bool isElementwise(Operation *op) {
  return isa<onnx::AddOp, onnx::SubOp, onnx::MulOp, onnx::DivOp, onnx::SwishOp, onnx::GeluOp, onnx::ReluOp,
             onnx::SigmoidOp, onnx::TanhOp>(op);
}

std::string whyNotElementwise(Operation *op) {
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type || type.getRank() != 3 || !isa<FloatType>(type.getElementType()))
    return "is not on activations of [batch, sequence, width]";
  return {};
}
} // namespace

std::optional<std::string> sparse::raise::whyNotCanonical(Operation *op) {
  auto because = [](std::string reason) -> std::optional<std::string> {
    return reason.empty() ? std::nullopt : std::optional(std::move(reason));
  };
  if (isa<onnx::WeightOp, onnx::NoValueOp, onnx::ConstantOp, func::ReturnOp>(op))
    return std::nullopt;
  if (auto attention = dyn_cast<onnx::AttentionOp>(op))
    return because(whyNotAttention(attention));
  if (auto rotary = dyn_cast<onnx::RotaryEmbeddingOp>(op))
    return because(whyNotRotary(rotary));
  if (auto gather = dyn_cast<onnx::GatherOp>(op))
    return because(whyNotGather(gather));
  if (auto norm = dyn_cast<onnx::RMSNormalizationOp>(op))
    return because(whyNotNorm(norm));
  if (auto product = dyn_cast<onnx::MatMulOp>(op))
    return because(isWeight(product.getRhs()) ? "" : "multiplies two activations outside an attention");
  if (isElementwise(op))
    return because(whyNotElementwise(op));
  return "";
}

StringRef sparse::raise::onnxTypeOf(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return node.getOpType();
  return op->getName().stripDialect();
}

namespace {
struct CheckRaised : sparse::impl::OnnxCheckRaisedPassBase<CheckRaised> {
  void runOnOperation() override {
    // One report for each kind of node and reason, in program order.
    llvm::MapVector<std::pair<StringAttr, StringAttr>, SmallVector<Operation *>> found;
    Builder builder(&getContext());
    for (func::FuncOp func : functionsOf(getOperation()))
      for (Operation &op : func.getOps())
        if (auto reason = whyNotCanonical(&op))
          found[{builder.getStringAttr(onnxTypeOf(&op)), builder.getStringAttr(*reason)}].push_back(&op);
    for (auto &[what, ops] : found)
      report(what.first.getValue(), what.second.getValue(), ops);
    if (!found.empty())
      signalPassFailure();
  }

private:
  static void report(StringRef type, StringRef reason, ArrayRef<Operation *> ops) {
    constexpr size_t kNamed = 4;
    SmallVector<std::string> names;
    for (Operation *op : ops)
      if (std::string name = nodeName(op); !name.empty() && names.size() < kNamed)
        names.push_back(std::move(name));
    InFlightDiagnostic error = ops.front()->emitError(type);
    if (auto node = dyn_cast<onnx::NodeOp>(ops.front()); node && !node.getDomain().empty())
      error << " of domain '" << node.getDomain() << "'";
    error << (reason.empty() ? " is part of no pattern that raise knows" : " ") << reason << " (" << ops.size()
          << (ops.size() == 1 ? " node" : " nodes") << (names.empty() ? "" : ": ");
    llvm::interleaveComma(names, error, [&](StringRef name) { error << "'" << name << "'"; });
    if (ops.size() > names.size() && !names.empty())
      error << ", …";
    error << ")";
  }
};
} // namespace
