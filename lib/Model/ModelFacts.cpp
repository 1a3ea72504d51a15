//===-- ModelFacts.cpp - What a raised model is -------------------------------------------------------------------===//
#include "lib/Model/ModelFacts.h"

#include "dialects/ONNX/ONNX.h"
#include "dialects/Sparsity/Sparsity.h"
#include "passes/Raise/WeightData.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace mlir;
using namespace sparse;
using sparsity::Part;

namespace {
std::optional<sparsity::SiteAttr> siteOf(Operation *op) {
  auto site = op->getAttrOfType<sparsity::SiteAttr>(sparsity::kSiteAttr);
  return site ? std::optional(site) : std::nullopt;
}

int64_t lastExtent(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() > 0 && !type.isDynamicDim(type.getRank() - 1) ? type.getShape().back() : 0;
}

/// The initializer that `value` is read or derived from; null for others.
onnx::InitializerOp initializerBehind(SymbolTable &symbols, Value value) {
  FlatSymbolRefAttr symbol = onnx::weightSymbolOf(value);
  while (symbol) {
    Operation *op = symbols.lookup(symbol.getValue());
    auto derived = dyn_cast_or_null<onnx::DerivedOp>(op);
    if (!derived)
      return dyn_cast_or_null<onnx::InitializerOp>(op);
    symbol =
        derived.getSources().size() == 1 ? dyn_cast<FlatSymbolRefAttr>(derived.getSources()[0]) : FlatSymbolRefAttr();
  }
  return {};
}

/// The base of a geometric row of frequencies: frequency i is base^(-i / n).
std::optional<double> geometricBase(ArrayRef<double> frequencies) {
  double n = frequencies.size();
  if (n < 2 || std::fabs(frequencies[0] - 1.0) > 1e-5 || !(frequencies.back() > 0))
    return std::nullopt;
  // The last frequency has the longest lever.
  double base = std::pow(frequencies.back(), -n / (n - 1));
  for (auto [i, frequency] : llvm::enumerate(frequencies))
    if (std::fabs(frequency - std::pow(base, -static_cast<double>(i) / n)) > 1e-4 * frequency)
      return std::nullopt;
  // Frequencies are rounded; bases are given with a few digits.
  double digits = std::pow(10.0, std::floor(std::log10(base)) - 3);
  return std::round(base / digits) * digits;
}

class Collector {
public:
  explicit Collector(func::FuncOp func) : func(func), symbols(func->getParentOfType<ModuleOp>()) {}

  FailureOr<ModelFacts> run() {
    for (auto op : func.getOps<onnx::AttentionOp>())
      addAttention(op);
    facts.layers = facts.attentions.size();
    if (facts.layers == 0)
      return func.emitError("has no attention in canonical form");
    for (Operation &op : func.getOps())
      visit(&op);
    auto logits = dyn_cast<RankedTensorType>(func.getResultTypes().front());
    facts.vocab = logits && logits.getRank() == 3 ? logits.getDimSize(2) : 0;
    if (facts.hidden <= 0 || facts.vocab <= 0)
      return func.emitError("has no embedding or no head in canonical form");
    countParameters();
    return std::move(facts);
  }

private:
  void addAttention(onnx::AttentionOp op) {
    AttentionFacts attention;
    attention.heads = op.getQNumHeads();
    attention.kvHeads = op.getKvNumHeads();
    attention.keyDim = lastExtent(op.getPastKey());
    attention.valueDim = lastExtent(op.getPastValue());
    attention.scale = op.getScale() ? op.getScale()->convertToFloat()
                                    : 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(attention.keyDim, 1)));
    attention.softcap = op.getSoftcap().convertToFloat();
    int64_t left = op.getLeftWindowSize();
    attention.window = left < 0 ? -1 : left + 1;
    attention.cacheType = getElementTypeOrSelf(op.getPastKey());
    facts.attentions.push_back(attention);
  }

  void visit(Operation *op) {
    auto site = siteOf(op);
    if (auto rotary = dyn_cast<onnx::RotaryEmbeddingOp>(op))
      addRotary(rotary);
    else if (auto norm = dyn_cast<onnx::RMSNormalizationOp>(op))
      addNorm(norm);
    if (!site)
      return;
    switch (site->getPart()) {
    case Part::Embed: {
      auto gather = cast<onnx::GatherOp>(op);
      facts.hidden = lastExtent(gather.getResult());
      facts.weightsType = getElementTypeOrSelf(gather.getData());
      embedding = initializerBehind(symbols, gather.getData());
      break;
    }
    case Part::Head:
      if (embedding && initializerBehind(symbols, op->getOperand(1)) == embedding)
        facts.tied = true;
      break;
    case Part::Up:
      facts.ffn = lastExtent(op->getResult(0));
      break;
    case Part::Gate:
      facts.gated = true;
      break;
    case Part::Act:
      facts.activation = op->getName().stripDialect().lower();
      break;
    default:
      break;
    }
  }

  void addNorm(onnx::RMSNormalizationOp op) {
    if (facts.normEpsilon == 0)
      facts.normEpsilon = op.getEpsilon().convertToFloat();
    // A norm of heads is as wide as a head.
    auto type = dyn_cast<RankedTensorType>(op.getScale().getType());
    auto site = siteOf(op);
    if (type && type.getRank() == 1 && site && site->getLayer() >= 0 && site->getLayer() < facts.layers &&
        type.getDimSize(0) == facts.attentions[site->getLayer()].keyDim && type.getDimSize(0) != facts.hidden)
      facts.attentions[site->getLayer()].normalisesHeads = true;
  }

  void addRotary(onnx::RotaryEmbeddingOp op) {
    auto type = cast<RankedTensorType>(op.getCosCache().getType());
    facts.maxContext = facts.maxContext == 0 ? type.getDimSize(0) : std::min(facts.maxContext, type.getDimSize(0));
    if (facts.rotary)
      return;
    RotaryFacts rotary;
    rotary.positions = type.getDimSize(0);
    rotary.rotatedDim = 2 * type.getDimSize(1);
    rotary.interleaved = op.getInterleaved() != 0;
    SmallVector<double> frequencies = frequenciesOf(op, rotary);
    rotary.theta = geometricBase(frequencies);
    facts.rotary = rotary;
  }

  SmallVector<double> frequenciesOf(onnx::RotaryEmbeddingOp op, RotaryFacts &rotary) {
    FlatSymbolRefAttr cosSymbol = onnx::weightSymbolOf(op.getCosCache());
    FlatSymbolRefAttr sinSymbol = onnx::weightSymbolOf(op.getSinCache());
    if (!cosSymbol || !sinSymbol)
      return {};
    Operation *cos = symbols.lookup(cosSymbol.getValue()), *sin = symbols.lookup(sinSymbol.getValue());
    if (auto derived = dyn_cast<onnx::DerivedOp>(cos))
      for (Attribute step : derived.getSteps())
        if (auto table = dyn_cast<onnx::RopeTableStepAttr>(step)) {
          rotary.derived = true;
          rotary.scale = table.getScale().getValueAsDouble();
          return SmallVector<double>(table.getInvFreq().asArrayRef());
        }
    if (!isa<onnx::InitializerOp>(cos) || !isa<onnx::InitializerOp>(sin))
      return {};
    // Row 1 holds the cosine and the sine of the frequencies, row 0 the scale.
    raise::HostTensor c = raise::readInitializer(cos, /*evenIfLarge=*/true);
    raise::HostTensor s = raise::readInitializer(sin, /*evenIfLarge=*/true);
    if (!c.hasData() || !s.hasData() || c.rank() != 2 || c.shape[0] < 2)
      return {};
    rotary.scale = c.at(0);
    SmallVector<double> frequencies;
    for (int64_t i = c.shape[1]; i < 2 * c.shape[1]; ++i)
      frequencies.push_back(std::atan2(s.at(i), c.at(i)));
    return frequencies;
  }

  /// Weights of the file that the function reads, tables aside, each once.
  void countParameters() {
    llvm::DenseSet<Operation *> tables, counted;
    for (auto op : func.getOps<onnx::RotaryEmbeddingOp>())
      for (Value table : {op.getCosCache(), op.getSinCache()})
        tables.insert(initializerBehind(symbols, table));
    for (auto op : func.getOps<onnx::WeightOp>())
      if (auto initializer = initializerBehind(symbols, op.getResult()))
        if (!tables.contains(initializer) && counted.insert(initializer).second)
          facts.parameters += cast<RankedTensorType>(initializer.getType()).getNumElements();
  }

  func::FuncOp func;
  SymbolTable symbols;
  onnx::InitializerOp embedding;
  ModelFacts facts;
};
} // namespace

FailureOr<ModelFacts> sparse::collectModelFacts(func::FuncOp func) { return Collector(func).run(); }
