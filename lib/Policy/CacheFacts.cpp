//===-- CacheFacts.cpp - What policies may ask about a model ------------------------------------------------------===//
#include "lib/Policy/CacheFacts.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;

/// Where neither an option nor a position table limits the context.
static constexpr int64_t kDefaultContext = 8192;

/// Rows of the shortest position table; 0 without one.
static int64_t contextOf(func::FuncOp main) {
  int64_t context = 0;
  main.walk([&](onnx::RotaryEmbeddingOp rope) {
    auto table = dyn_cast<RankedTensorType>(rope.getCosCache().getType());
    if (table && table.getRank() != 0 && !table.isDynamicDim(0))
      context = context == 0 ? table.getDimSize(0) : std::min(context, table.getDimSize(0));
  });
  return context;
}

static int64_t widthOf(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 3 && !type.isDynamicDim(2) ? type.getDimSize(2) : 0;
}

FailureOr<CacheFacts> sparse::policy::factsOf(ModuleOp module, const CacheOptions &options) {
  CacheFacts model;
  model.main = module.lookupSymbol<func::FuncOp>("main");
  if (!model.main || model.main.isExternal())
    return module.emitError("has no @main; run 'raise' first");
  model.maxContext = options.maxContext ? options.maxContext : contextOf(model.main);
  if (model.maxContext == 0)
    model.maxContext = kDefaultContext;
  if (options.type != "f32" && options.type != "bf16")
    return module.emitError() << "kv-dtype is '" << options.type << "'; legal: f32 or bf16";
  MLIRContext *context = module.getContext();
  for (auto op : model.main.getOps<onnx::AttentionOp>()) {
    sparsity::LayerFacts facts;
    facts.layer = static_cast<int64_t>(model.layers.size());
    facts.heads = op.getQNumHeads();
    facts.kvHeads = op.getKvNumHeads();
    int64_t keys = widthOf(op.getK()), values = widthOf(op.getV());
    if (facts.kvHeads <= 0 || keys == 0 || values == 0)
      return op.emitError("is not in canonical form: keys and values are [batch, sequence, width]; run 'raise' first");
    facts.keyDim = keys / facts.kvHeads;
    facts.valueDim = values / facts.kvHeads;
    facts.maxContext = model.maxContext;
    facts.prefillChunk = options.prefillChunk;
    facts.page = options.page;
    facts.type = options.type == "bf16" ? Type(BFloat16Type::get(context)) : Type(Float32Type::get(context));
    model.attentions.push_back(op);
    model.layers.push_back(facts);
  }
  if (model.layers.empty())
    return model.main.emitError("has no onnx.Attention; nothing to keep a cache for");
  return model;
}
