//===-- ImportNode.cpp - One node ---------------------------------------------------------------------------------===//
#include "dialects/ONNX/ONNX.h"
#include "lib/Import/Attributes.h"
#include "lib/Import/CheckNode.h"
#include "lib/Import/Importer.h"
#include "lib/Import/Types.h"

#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace sparse::import;

/// A Constant node above this size becomes a weight.
static constexpr uint64_t inlineConstantBytes = 64 * 1024;

Type sparse::import::guessElementType(StringRef opType, unsigned index, TypeRange operands, MLIRContext *context) {
  Type i64 = IntegerType::get(context, 64);
  if (opType == "ArgMax" || opType == "ArgMin" || opType == "NonZero" || (opType == "TopK" && index == 1))
    return i64;
  if (opType == "MatMulInteger")
    return IntegerType::get(context, 32);
  unsigned like = llvm::StringSwitch<unsigned>(opType)
                      .Case("DequantizeLinear", 1)
                      .Cases({"QuantizeLinear", "OneHot"}, 2)
                      .Default(0);
  for (unsigned i : {like, 0u})
    if (i < operands.size())
      if (auto tensor = dyn_cast<TensorType>(operands[i]))
        return tensor.getElementType();
  return Float32Type::get(context);
}

void Importer::define(Scope &scope, StringRef name, Value value) {
  if (!name.empty())
    scope.values[name] = value;
}

TensorType Importer::resultType(StringRef name, Type element, const Scope &scope) {
  std::string ignored;
  if (auto declared = scope.declaredTypes.find(name); declared != scope.declaredTypes.end())
    if (TensorType type = tensorTypeOf(*declared->second, options.limits, source.context(), ignored))
      if (!element || type.getElementType() == element)
        return type;
  return element ? UnrankedTensorType::get(element) : TensorType();
}

FailureOr<const proto::AttributeProto *> Importer::resolve(const proto::AttributeProto &attribute, Location loc,
                                                           const Scope &scope) {
  if (failed(checkAttribute(attribute, loc)))
    return failure();
  if (attribute.ref_attr_name().empty())
    return &attribute;
  if (!scope.bindings)
    return emitError(loc) << "refers to attribute '" << attribute.ref_attr_name()
                          << "' of a function but is not inside of one";
  auto bound = scope.bindings->find(attribute.ref_attr_name());
  if (bound == scope.bindings->end())
    return nullptr;
  if (failed(checkAttribute(*bound->second, loc)))
    return failure();
  if (bound->second->type() != attribute.type())
    return emitError(loc) << "takes attribute '" << attribute.name() << "' from the call, which gives it another type";
  return bound->second;
}

LogicalResult Importer::convertAttributes(const proto::NodeProto &node, Location loc, const Scope &scope,
                                          NamedAttrList &attributes) {
  for (const proto::AttributeProto &attribute : node.attribute()) {
    FailureOr<const proto::AttributeProto *> value = resolve(attribute, loc, scope);
    if (failed(value))
      return failure();
    if (attributes.get(attribute.name()))
      return emitError(loc) << "has attribute '" << attribute.name() << "' twice";
    if (!*value)
      continue;
    FailureOr<Attribute> converted = convertAttribute(**value, options.limits, loc);
    if (failed(converted))
      return failure();
    attributes.set(attribute.name(), *converted);
  }
  return success();
}

LogicalResult Importer::importNode(const proto::NodeProto &node, unsigned index, Scope &scope) {
  Location loc = locationOf(node, index, scope);
  if (node.op_type().empty())
    return emitError(loc) << "has no operator type";
  StringRef domain = canonicalDomain(node.domain());
  std::optional<int64_t> version = versionOf(*scope.opsets, domain);
  if (!version)
    return emitError(loc) << "uses operator '" << node.op_type() << "' of domain '" << domain
                          << "', which opset_import does not list";

  bool done = false;
  if (domain.empty() && node.op_type() == "Constant")
    if (failed(importConstant(node, loc, scope, done)) || done)
      return success(done);
  if (domain.empty() && node.op_type() == "If")
    if (failed(importIf(node, loc, index, scope, done)) || done)
      return success(done);

  NodeForm form;
  form.opType = node.op_type();
  for (const std::string &name : node.input()) {
    if (name.empty()) {
      form.operands.push_back({});
      continue;
    }
    FailureOr<Value> value = lookup(scope, name, loc);
    if (failed(value))
      return failure();
    form.operands.push_back(*value);
  }
  // A function of the model wins over an unknown operator, and an operator that the dialect has over both.
  const proto::FunctionProto *callee = functions.lookup(node);
  bool hasTyped = domain.empty() || (domain == "com.microsoft" && node.op_type() == "SkipSimplifiedLayerNormalization");
  if (callee && !hasTyped)
    return importCall(*callee, node, loc, index, scope);
  if (failed(convertAttributes(node, loc, scope, form.attributes)))
    return failure();
  if (hasTyped && (failed(importTyped(node, form, *version, loc, scope, done)) || done))
    return success(done);
  if (callee)
    return importCall(*callee, node, loc, index, scope);
  return importOther(node, form, loc, scope);
}

LogicalResult Importer::importConstant(const proto::NodeProto &node, Location loc, Scope &scope, bool &done) {
  if (node.input_size() != 0 || node.output_size() != 1 || node.attribute_size() != 1)
    return emitError(loc) << "is a Constant with " << node.input_size() << " inputs, " << node.output_size()
                          << " outputs and " << node.attribute_size() << " attributes; it must have 0, 1 and 1";
  FailureOr<const proto::AttributeProto *> attribute = resolve(node.attribute(0), loc, scope);
  if (failed(attribute))
    return failure();
  if (!*attribute)
    return emitError(loc) << "is a Constant whose value the call does not give";
  StringRef name = node.attribute(0).name();
  auto make = [&](ElementsAttr elements) {
    Value value = onnx::ConstantOp::create(builder, loc, elements.getShapedType(), elements);
    define(scope, node.output(0), value);
    done = true;
    return success();
  };
  if (name == "value" && (*attribute)->has_t()) {
    const proto::TensorProto &tensor = (*attribute)->t();
    FailureOr<TensorInfo> info = weights.inspect(tensor, loc);
    if (failed(info))
      return failure();
    if (info->bytes > inlineConstantBytes) {
      FailureOr<Value> value = weights.materialize(tensor, *info, node.output(0), 0, loc);
      if (failed(value))
        return failure();
      define(scope, node.output(0), *value);
      done = true;
      return success();
    }
  }
  if (name.starts_with("value_string") || name == "sparse_value")
    return success(); // reported later, as any operator that is not supported
  FailureOr<Attribute> converted = convertAttribute(**attribute, options.limits, loc);
  if (failed(converted))
    return failure();
  auto vector = [&](auto values, Type type) {
    int64_t size = values.size();
    return make(DenseElementsAttr::get(RankedTensorType::get({size}, type), values.asArrayRef()));
  };
  auto scalar = [&](Attribute value, Type type) {
    return make(DenseElementsAttr::get(RankedTensorType::get({}, type), value));
  };
  if (auto elements = dyn_cast<ElementsAttr>(*converted); elements && name == "value")
    return make(elements);
  if (auto value = dyn_cast<IntegerAttr>(*converted); value && name == "value_int")
    return scalar(value, value.getType());
  if (auto value = dyn_cast<FloatAttr>(*converted); value && name == "value_float")
    return scalar(value, value.getType());
  if (auto values = dyn_cast<DenseI64ArrayAttr>(*converted); values && name == "value_ints")
    return vector(values, builder.getI64Type());
  if (auto values = dyn_cast<DenseF32ArrayAttr>(*converted); values && name == "value_floats")
    return vector(values, builder.getF32Type());
  return emitError(loc) << "is a Constant with attribute '" << name
                        << "' of the wrong type; it takes value, value_int(s), value_float(s) or value_string(s)";
}

LogicalResult Importer::importIf(const proto::NodeProto &node, Location loc, unsigned index, Scope &scope,
                                 bool &done) {
  const proto::GraphProto *branches[2] = {nullptr, nullptr};
  for (const proto::AttributeProto &attribute : node.attribute()) {
    if (failed(checkAttribute(attribute, loc)))
      return failure();
    if (attribute.name() == "then_branch" && attribute.has_g())
      branches[1] = &attribute.g();
    if (attribute.name() == "else_branch" && attribute.has_g())
      branches[0] = &attribute.g();
  }
  if (!branches[0] || !branches[1] || node.input_size() != 1)
    return emitError(loc) << "is an If, which needs one input, a then_branch and an else_branch";
  for (const proto::GraphProto *branch : branches)
    if (branch->output_size() != node.output_size())
      return emitError(loc) << "is an If with " << node.output_size() << " outputs but a branch has "
                            << branch->output_size();
  FailureOr<Value> condition = lookup(scope, node.input(0), loc);
  if (failed(condition))
    return failure();
  auto constant = *condition ? condition->getDefiningOp<onnx::ConstantOp>() : onnx::ConstantOp();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValueAttr()) : DenseElementsAttr();
  if (!elements || !elements.getElementType().isInteger(1) || elements.getNumElements() != 1)
    return success();
  LogicalResult result = importBranch(*branches[*elements.value_begin<bool>()], node, loc, index, scope);
  done = succeeded(result);
  return result;
}

/// Floats that make no sense as a parameter of an operator.
static LogicalResult checkFinite(const NamedAttrList &attributes, Location loc) {
  for (NamedAttribute attribute : attributes)
    if (auto value = dyn_cast<FloatAttr>(attribute.getValue()); value && !value.getValue().isFinite())
      return emitError(loc) << "has attribute '" << attribute.getName().getValue() << "' that is not finite";
  return success();
}

LogicalResult Importer::importTyped(const proto::NodeProto &node, NodeForm form, int64_t version, Location loc,
                                    Scope &scope, bool &done) {
  MLIRContext *context = source.context();
  auto name = RegisteredOperationName::lookup(("onnx." + form.opType).str(), context);
  if (!name || form.opType.empty())
    return success();
  auto *facts = name->getInterface<onnx::OnnxOpInterface>();
  // SkipSimplifiedLayerNormalization is typed, but not in the default domain.
  if (!facts || (node.domain() != "com.microsoft" && form.opType == "SkipSimplifiedLayerNormalization"))
    return success();
  auto constant = [&](ArrayRef<int64_t> values) -> Value {
    auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, builder.getI64Type());
    return onnx::ConstantOp::create(builder, loc, type, DenseElementsAttr::get(type, values));
  };
  if (node.domain() != "com.microsoft" && !adaptToNewestForm(form, version, constant))
    return success();

  int operandCount = facts->getOnnxOperandCount(), resultCount = facts->getOnnxResultCount();
  while (operandCount >= 0 && static_cast<int>(form.operands.size()) > operandCount && !form.operands.back())
    form.operands.pop_back();
  if ((operandCount >= 0 && static_cast<int>(form.operands.size()) > operandCount) ||
      (resultCount >= 0 && node.output_size() > resultCount))
    return success();
  for (NamedAttribute attribute : form.attributes)
    if (!llvm::is_contained(name->getAttributeNames(), attribute.getName()))
      return success();
  auto error = [&] { return emitError(loc) << "is a " << form.opType << " whose "; };
  if (failed(name->verifyInherentAttrs(form.attributes, error)) || failed(checkFinite(form.attributes, loc)))
    return failure();

  if (operandCount >= 0)
    form.operands.resize(operandCount);
  else if (form.operands.empty() || llvm::is_contained(form.operands, Value()))
    return emitError(loc) << "is a " << form.opType
                          << (form.operands.empty() ? " without inputs" : " with an absent input");
  for (Value &operand : form.operands)
    operand = operand ? operand : weights.noValue();
  OperationState state(loc, *name);
  state.addOperands(form.operands);
  DictionaryAttr attributes = form.attributes.getDictionary(context);
  state.addAttributes(attributes.getValue());
  for (int i = 0, e = resultCount < 0 ? node.output_size() : resultCount; i < e; ++i) {
    StringRef result = i < node.output_size() ? StringRef(node.output(i)) : StringRef();
    // Results after the first are optional, unless the operator has any number of them.
    if (result.empty() && i > 0 && resultCount >= 0) {
      state.addTypes(builder.getNoneType());
      continue;
    }
    Type element = facts->inferElementType(i, ValueRange(form.operands).getTypes(), attributes);
    TensorType type = resultType(result, element, scope);
    if (!type)
      return emitError(loc) << "has a result '" << result << "' whose element type can't be told";
    state.addTypes(type);
  }
  Operation *op = builder.create(state);
  // The op's own verifier first: the checks rely on operands of the right kind.
  if (failed(verify(op, /*verifyRecursively=*/false)) || failed(checkNode(op)))
    return failure();
  for (int i = 0; i < node.output_size(); ++i)
    define(scope, node.output(i), op->getResult(i));
  done = true;
  return success();
}

LogicalResult Importer::importOther(const proto::NodeProto &node, const NodeForm &form, Location loc, Scope &scope) {
  SmallVector<Value> operands;
  for (Value operand : form.operands)
    operands.push_back(operand ? operand : weights.noValue());
  SmallVector<Type> types;
  for (int i = 0; i < node.output_size(); ++i) {
    TensorType declared = resultType(node.output(i), Type(), scope);
    types.push_back(declared ? declared
                             : UnrankedTensorType::get(guessElementType(
                                   form.opType, i, ValueRange(operands).getTypes(), source.context())));
  }
  auto op = onnx::NodeOp::create(builder, loc, types, builder.getStringAttr(node.op_type()),
                                 builder.getStringAttr(canonicalDomain(node.domain())), operands,
                                 form.attributes.getDictionary(source.context()));
  for (int i = 0; i < node.output_size(); ++i)
    define(scope, node.output(i), op->getResult(i));
  return success();
}
