//===-- Attributes.cpp - AttributeProto to MLIR attributes --------------------------------------------------------===//
#include "lib/Import/Attributes.h"
#include "lib/Import/TensorData.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace sparse::import;
using Attr = proto::AttributeProto;

LogicalResult sparse::import::checkAttribute(const Attr &attribute, Location loc) {
  if (attribute.name().empty())
    return emitError(loc) << "has an attribute without a name";
  // An enum value that the schema does not know looks unset.
  if (attribute.type() == Attr::UNDEFINED)
    return emitError(loc) << "has attribute '" << attribute.name() << "' with a missing or unknown type";
  const std::pair<Attr::AttributeType, bool> fields[] = {
      {Attr::FLOAT, attribute.has_f()},
      {Attr::INT, attribute.has_i()},
      {Attr::STRING, attribute.has_s()},
      {Attr::TENSOR, attribute.has_t()},
      {Attr::GRAPH, attribute.has_g()},
      {Attr::SPARSE_TENSOR, attribute.has_sparse_tensor()},
      {Attr::TYPE_PROTO, attribute.has_tp()},
      {Attr::FLOATS, attribute.floats_size() > 0},
      {Attr::INTS, attribute.ints_size() > 0},
      {Attr::STRINGS, attribute.strings_size() > 0},
      {Attr::TENSORS, attribute.tensors_size() > 0},
      {Attr::GRAPHS, attribute.graphs_size() > 0},
      {Attr::SPARSE_TENSORS, attribute.sparse_tensors_size() > 0},
      {Attr::TYPE_PROTOS, attribute.type_protos_size() > 0}};
  for (auto [type, set] : fields) {
    if (set && type != attribute.type())
      return emitError(loc) << "has attribute '" << attribute.name() << "' whose value is not of its type "
                            << Attr::AttributeType_Name(attribute.type());
    // A message is not the zero of its type; an absent number or string is.
    bool needsValue = type == Attr::TENSOR || type == Attr::GRAPH || type == Attr::SPARSE_TENSOR ||
                      type == Attr::TYPE_PROTO;
    if (!set && type == attribute.type() && needsValue && !attribute.has_ref_attr_name())
      return emitError(loc) << "has attribute '" << attribute.name() << "' of type "
                            << Attr::AttributeType_Name(attribute.type()) << " without a value";
  }
  return success();
}

static FailureOr<Attribute> tensorAttribute(const proto::TensorProto &tensor, const ImportLimits &limits,
                                            Location loc) {
  FailureOr<TensorInfo> info = inspectTensor(tensor, limits, loc);
  if (failed(info))
    return failure();
  if (info->external)
    return emitError(loc) << "has an attribute with external data, which only initializers may have";
  FailureOr<std::string> bytes = payloadOf(tensor, *info, loc);
  if (failed(bytes))
    return failure();
  return Attribute(elementsOf(info->type, *bytes));
}

FailureOr<Attribute> sparse::import::convertAttribute(const Attr &attribute, const ImportLimits &limits,
                                                      Location loc) {
  Builder b(loc.getContext());
  switch (attribute.type()) {
  case Attr::FLOAT: return Attribute(b.getF32FloatAttr(attribute.f()));
  case Attr::INT: return Attribute(b.getI64IntegerAttr(attribute.i()));
  case Attr::STRING: return Attribute(b.getStringAttr(attribute.s()));
  case Attr::TENSOR: return tensorAttribute(attribute.t(), limits, loc);
  case Attr::FLOATS:
    return Attribute(b.getDenseF32ArrayAttr(ArrayRef<float>(attribute.floats().data(), attribute.floats_size())));
  case Attr::INTS: {
    SmallVector<int64_t> values(attribute.ints().begin(), attribute.ints().end());
    return Attribute(b.getDenseI64ArrayAttr(values));
  }
  case Attr::STRINGS: {
    SmallVector<Attribute> values;
    for (const std::string &value : attribute.strings())
      values.push_back(b.getStringAttr(value));
    return Attribute(b.getArrayAttr(values));
  }
  case Attr::TENSORS: {
    SmallVector<Attribute> values;
    for (const proto::TensorProto &tensor : attribute.tensors()) {
      FailureOr<Attribute> value = tensorAttribute(tensor, limits, loc);
      if (failed(value))
        return failure();
      values.push_back(*value);
    }
    return Attribute(b.getArrayAttr(values));
  }
  case Attr::GRAPH:
  case Attr::GRAPHS: return Attribute(b.getStringAttr("<graph>"));
  case Attr::SPARSE_TENSOR:
  case Attr::SPARSE_TENSORS: return Attribute(b.getStringAttr("<sparse tensor>"));
  default: return Attribute(b.getStringAttr("<type>"));
  }
}
