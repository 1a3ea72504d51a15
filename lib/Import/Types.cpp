//===-- Types.cpp - ONNX types to MLIR types ----------------------------------------------------------------------===//
#include "lib/Import/Types.h"
#include "dialects/ONNX/ONNX.h"

using namespace mlir;
using namespace sparse::import;

StringRef sparse::import::nameOfDataType(int32_t dataType) {
  static constexpr StringRef names[] = {
      "UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16", "DOUBLE",
      "UINT32", "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2",
      "FLOAT8E5M2FNUZ", "UINT4", "INT4", "FLOAT4E2M1", "FLOAT8E8M0", "UINT2", "INT2"};
  return dataType >= 0 && static_cast<size_t>(dataType) < std::size(names) ? names[dataType] : "unknown";
}

TensorType sparse::import::tensorTypeOf(const proto::TypeProto &type, const ImportLimits &limits, MLIRContext *context,
                                        std::string &why) {
  if (!type.has_tensor_type()) {
    bool unset = type.value_case() == proto::TypeProto::VALUE_NOT_SET;
    why = unset ? "has no type" : "is no tensor; only tensors are supported";
    return {};
  }
  const proto::TypeProto::Tensor &tensor = type.tensor_type();
  Type element = onnx::elementTypeOfOnnx(context, tensor.elem_type());
  if (!element) {
    why = ("has element type " + Twine(tensor.elem_type()) + " (" + nameOfDataType(tensor.elem_type()) +
           "), which is not supported").str();
    return {};
  }
  if (!tensor.has_shape())
    return UnrankedTensorType::get(element);
  if (static_cast<uint64_t>(tensor.shape().dim_size()) > limits.rank) {
    why = ("has rank " + Twine(tensor.shape().dim_size()) + "; at most " + Twine(limits.rank) + " is supported").str();
    return {};
  }
  SmallVector<int64_t> shape;
  for (const proto::TensorShapeProto::Dimension &dim : tensor.shape().dim()) {
    // Converters write -1 for a dimension that they do not know.
    bool known = dim.has_dim_value() && dim.dim_value() >= 0;
    if (known && static_cast<uint64_t>(dim.dim_value()) > limits.dimension) {
      why = ("has a dimension of " + Twine(dim.dim_value()) + "; at most " + Twine(limits.dimension) +
             " is supported").str();
      return {};
    }
    shape.push_back(known ? dim.dim_value() : ShapedType::kDynamic);
  }
  return RankedTensorType::get(shape, element);
}
