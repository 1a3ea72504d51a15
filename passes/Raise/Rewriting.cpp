//===-- Rewriting.cpp - Small tools of the raise passes -----------------------------------------------------------===//
#include "passes/Raise/Rewriting.h"

#include "passes/Raise/Evaluation.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

SmallVector<func::FuncOp> sparse::raise::functionsOf(ModuleOp module) {
  SmallVector<func::FuncOp> functions;
  for (auto func : module.getOps<func::FuncOp>())
    if (!func.isDeclaration())
      functions.push_back(func);
  return functions;
}

void sparse::raise::cleanUp(func::FuncOp func) {
  Dialect *onnx = func->getContext()->getLoadedDialect<onnx::ONNXDialect>();
  for (Block &block : func.getBody())
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (op.getDialect() == onnx && op.use_empty())
        op.erase();
  func.setType(FunctionType::get(func->getContext(), func.getArgumentTypes(),
                                 func.getBody().front().getTerminator()->getOperandTypes()));
}

void sparse::raise::setRankedTypes(func::FuncOp func) {
  Evaluation evaluation(func);
  for (Operation &op : func.getOps())
    for (Value result : op.getResults())
      if (RankedTensorType type = evaluation.typeOf(result))
        result.setType(type);
  cleanUp(func);
}

void sparse::raise::eraseDeadWeights(ModuleOp module) {
  llvm::DenseSet<StringAttr> used;
  module.walk([&](onnx::WeightOp op) { used.insert(op.getSymbolAttr().getAttr()); });
  // A recipe comes after its sources or before them: repeat until nothing new is reached.
  for (size_t before = 0; before != used.size();) {
    before = used.size();
    for (auto derived : module.getOps<onnx::DerivedOp>())
      if (used.contains(derived.getSymNameAttr()))
        for (auto source : derived.getSources().getAsRange<FlatSymbolRefAttr>())
          used.insert(source.getAttr());
  }
  for (Operation &op : llvm::make_early_inc_range(module.getOps()))
    if (isa<onnx::InitializerOp, onnx::DerivedOp>(op) && !used.contains(SymbolTable::getSymbolName(&op)))
      op.erase();
}

std::string sparse::raise::nodeName(Operation *op) {
  std::string name;
  op->getLoc()->walk([&](Location loc) {
    if (auto named = dyn_cast<NameLoc>(loc); named && name.empty())
      name = named.getName().str();
    return WalkResult::advance();
  });
  return name;
}

Value sparse::raise::makeConstant(OpBuilder &builder, Location loc, ArrayRef<int64_t> values) {
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, builder.getI64Type());
  return onnx::ConstantOp::create(builder, loc, type, DenseElementsAttr::get(type, values));
}

/// The importer's intermediate types: only the element type is sure until canonical-interface.
static Type unranked(Value value) {
  return UnrankedTensorType::get(cast<TensorType>(value.getType()).getElementType());
}

Value sparse::raise::makeReshape(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> shape) {
  return onnx::ReshapeOp::create(builder, loc, unranked(value), value, makeConstant(builder, loc, shape));
}

Value sparse::raise::makeTranspose(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> perm) {
  return onnx::TransposeOp::create(builder, loc, unranked(value), value, builder.getDenseI64ArrayAttr(perm));
}

Value sparse::raise::mergeHeads(OpBuilder &builder, Location loc, Value value, int64_t heads, int64_t dim) {
  return makeReshape(builder, loc, makeTranspose(builder, loc, value, {0, 2, 1, 3}), {0, 0, heads * dim});
}

Value sparse::raise::splitHeads(OpBuilder &builder, Location loc, Value value, int64_t heads, int64_t dim) {
  return makeTranspose(builder, loc, makeReshape(builder, loc, value, {0, 0, heads, dim}), {0, 2, 1, 3});
}

/// Puts `symbol` before the functions of the module, under a name that is free.
static StringAttr insertWeight(SymbolTable &symbols, Operation *symbol) {
  auto module = cast<ModuleOp>(symbols.getOp());
  auto functions = module.getOps<func::FuncOp>();
  return symbols.insert(symbol, functions.empty() ? module.getBody()->end() : Block::iterator(*functions.begin()));
}

Value sparse::raise::makeDerived(OpBuilder &builder, Location loc, SymbolTable &symbols, StringRef name,
                                 ArrayRef<Attribute> sources, ArrayRef<Attribute> steps, RankedTensorType type) {
  // The same recipe is the same weight.
  auto module = cast<ModuleOp>(symbols.getOp());
  ArrayAttr from = builder.getArrayAttr(sources), how = builder.getArrayAttr(steps);
  for (auto known : module.getOps<onnx::DerivedOp>())
    if (known.getSources() == from && known.getSteps() == how && known.getType() == type)
      return onnx::WeightOp::create(builder, loc, type, FlatSymbolRefAttr::get(known.getSymNameAttr()));

  OpBuilder atTop(builder.getContext());
  auto derived = onnx::DerivedOp::create(atTop, loc, builder.getStringAttr(name), from, how, TypeAttr::get(type));
  return onnx::WeightOp::create(builder, loc, type, FlatSymbolRefAttr::get(insertWeight(symbols, derived)));
}

/// `name` with everything replaced that would need quotes in MLIR text.
static std::string symbolFrom(StringRef name) {
  std::string symbol;
  for (char c : name)
    symbol += llvm::isAlnum(c) || c == '.' || c == '_' || c == '$' ? c : '_';
  return symbol.empty() || llvm::isDigit(symbol[0]) || symbol[0] == '.' ? "" : symbol;
}

Value sparse::raise::asWeight(OpBuilder &builder, SymbolTable &symbols, const Evaluation &evaluation, Value value,
                              StringRef fallback) {
  if (onnx::weightSymbolOf(value))
    return value;
  const HostTensor *data = evaluation.constant(value);
  if (!data || data->rank() != 1)
    return {};
  DenseElementsAttr elements = data->toAttribute();
  std::string name = value.getDefiningOp() ? symbolFrom(nodeName(value.getDefiningOp())) : "";
  if (name.empty())
    name = fallback.str();
  OpBuilder atTop(builder.getContext());
  auto initializer = onnx::InitializerOp::create(
      atTop, value.getLoc(), builder.getStringAttr(name), TypeAttr::get(elements.getType()), /*file=*/StringAttr(),
      /*offset=*/IntegerAttr(), /*length=*/IntegerAttr(), /*sha256=*/StringAttr(), elements);
  return onnx::WeightOp::create(builder, value.getLoc(), elements.getType(),
                                FlatSymbolRefAttr::get(insertWeight(symbols, initializer)));
}

Value sparse::raise::getPositionIds(func::FuncOp func) {
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (inputKind(func, i) == Input::PositionIds)
      return func.getArgument(i);
  Builder builder(func.getContext());
  unsigned index = func.getNumArguments();
  Type type = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, builder.getI64Type());
  auto attrs = builder.getDictionaryAttr(builder.getNamedAttr("onnx.name", builder.getStringAttr("position_ids")));
  (void)func.insertArgument(index, type, attrs, func.getLoc());
  return func.getArgument(index);
}
