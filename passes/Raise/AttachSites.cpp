//===-- AttachSites.cpp - What each op is in the model ------------------------------------------------------------===//
#include "dialects/Sparsity/Sparsity.h"
#include "passes/Passes.h"
#include "passes/Raise/Rewriting.h"

#include "llvm/ADT/STLExtras.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXATTACHSITESPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;
using sparsity::Part;

namespace {
/// Layer of what belongs to none.
constexpr int64_t kOutside = -1;

bool hasSite(Operation *op) { return op->hasAttr(sparsity::kSiteAttr); }

void setSite(Operation *op, int64_t layer, Part part) {
  if (!hasSite(op))
    op->setAttr(sparsity::kSiteAttr, sparsity::SiteAttr::get(op->getContext(), layer, part));
}

bool isLinear(Operation *op) {
  auto product = dyn_cast_or_null<onnx::MatMulOp>(op);
  return product && onnx::weightSymbolOf(product.getRhs());
}

/// The linear op that `value` comes from through rotations, norms of heads, biases, scales, caps and reshapes.
Operation *linearBehind(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (isLinear(op))
      return op;
    if (isa<onnx::AddOp, onnx::MulOp>(op) && onnx::weightSymbolOf(op->getOperand(0)))
      value = op->getOperand(1);
    else if (isa<onnx::RotaryEmbeddingOp, onnx::RMSNormalizationOp, onnx::ReshapeOp, onnx::TransposeOp, onnx::AddOp,
                 onnx::MulOp, onnx::DivOp, onnx::TanhOp>(op))
      value = op->getOperand(0);
    else
      return nullptr;
  }
  return nullptr;
}

/// The next linear ops that read `value`, through elementwise ops that don't join it with the residual stream.
Operation *linearAfter(Value value) {
  for (Operation *user : value.getUsers()) {
    if (isLinear(user) && user->getOperand(0) == value)
      return user;
    if (isa<onnx::ReshapeOp, onnx::TransposeOp, onnx::MulOp>(user))
      if (Operation *found = linearAfter(user->getResult(0)))
        return found;
  }
  return nullptr;
}

bool isActivation(Operation *op) {
  return isa_and_nonnull<onnx::SwishOp, onnx::GeluOp, onnx::ReluOp, onnx::SigmoidOp, onnx::TanhOp>(op);
}

/// A gated MLP around its `down` product: down(act(gate(x)) * up(x)).
void attachGatedMlp(Operation *down, int64_t layer) {
  auto product = down->getOperand(0).getDefiningOp<onnx::MulOp>();
  if (!product) {
    // Without a gate: down(act(up(x))).
    Operation *activation = down->getOperand(0).getDefiningOp();
    if (!isActivation(activation))
      return;
    if (Operation *up = linearBehind(activation->getOperand(0))) {
      setSite(down, layer, Part::Down);
      setSite(activation, layer, Part::Act);
      setSite(up, layer, Part::Up);
    }
    return;
  }
  for (Value side : {product.getLhs(), product.getRhs()}) {
    Operation *activation = side.getDefiningOp();
    if (!isActivation(activation))
      continue;
    Operation *gate = linearBehind(activation->getOperand(0)), *up = linearBehind(otherOperand(product, side));
    if (!gate || !up)
      continue;
    setSite(down, layer, Part::Down);
    setSite(activation, layer, Part::Act);
    setSite(gate, layer, Part::Gate);
    setSite(up, layer, Part::Up);
    return;
  }
}

void attach(func::FuncOp func) {
  for (Operation &op : func.getOps())
    op.removeAttr(sparsity::kSiteAttr);

  int64_t layers = 0;
  for (auto op : func.getOps<onnx::AttentionOp>()) {
    int64_t layer = layers++;
    setSite(op, layer, Part::Attention);
    for (auto [operand, part] :
         {std::pair(op.getQ(), Part::Q), std::pair(op.getK(), Part::K), std::pair(op.getV(), Part::V)})
      if (Operation *projection = linearBehind(operand))
        setSite(projection, layer, part);
    if (Operation *output = linearAfter(op.getY()))
      setSite(output, layer, Part::O);
  }

  // An MLP belongs to the last attention before it.
  int64_t layer = kOutside;
  for (Operation &op : func.getOps()) {
    if (isa<onnx::AttentionOp>(op))
      ++layer;
    else if (isLinear(&op) && !hasSite(&op))
      attachGatedMlp(&op, layer);
  }

  Operation *terminator = func.getBody().front().getTerminator();
  if (terminator->getNumOperands() > 0)
    if (Operation *head = linearBehind(terminator->getOperand(0)))
      setSite(head, kOutside, Part::Head);
  for (auto op : func.getOps<onnx::GatherOp>())
    if (onnx::weightSymbolOf(op.getData()) && isa<BlockArgument>(op.getIndices()))
      setSite(op, kOutside, Part::Embed);

  // A norm belongs to the layer of a linear op that reads it or that it reads.
  for (auto op : func.getOps<onnx::RMSNormalizationOp>()) {
    int64_t of = kOutside;
    auto consider = [&](Operation *other) {
      if (other)
        if (auto site = other->getAttrOfType<sparsity::SiteAttr>(sparsity::kSiteAttr))
          of = std::max(of, site.getLayer());
    };
    for (Operation *user : op.getResult().getUsers())
      if (isLinear(user))
        consider(user);
    if (of == kOutside)
      consider(linearBehind(op.getX()));
    setSite(op, of, Part::Norm);
  }
}

struct AttachSites : sparse::impl::OnnxAttachSitesPassBase<AttachSites> {
  void runOnOperation() override {
    for (func::FuncOp func : functionsOf(getOperation()))
      attach(func);
  }
};
} // namespace
