//===-- TensorData.cpp - TensorProto, checked and decoded ---------------------------------------------------------===//
#include "lib/Import/TensorData.h"
#include "dialects/ONNX/ONNX.h"
#include "lib/Import/Types.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace sparse::import;

static unsigned bytesOfElement(Type element) {
  return element.isInteger(1) ? 1 : element.getIntOrFloatBitWidth() / 8;
}

namespace {
/// The typed fields of a TensorProto.
enum class TypedField { None, Float, Double, Int32, Int64, Uint64, String };
} // namespace

/// The field in which data of type `dataType` stands when it is not in raw_data.
static TypedField fieldOf(int32_t dataType) {
  switch (dataType) {
  case proto::TensorProto::FLOAT: return TypedField::Float;
  case proto::TensorProto::DOUBLE: return TypedField::Double;
  case proto::TensorProto::INT64: return TypedField::Int64;
  case proto::TensorProto::UINT32:
  case proto::TensorProto::UINT64: return TypedField::Uint64;
  default: return TypedField::Int32;
  }
}

FailureOr<TensorInfo> sparse::import::inspectTensor(const proto::TensorProto &tensor, const ImportLimits &limits,
                                                    Location loc) {
  Type element = onnx::elementTypeOfOnnx(loc.getContext(), tensor.data_type());
  if (!element)
    return emitError(loc) << "has element type " << tensor.data_type() << " (" << nameOfDataType(tensor.data_type())
                          << "), which is not supported";
  if (tensor.has_segment())
    return emitError(loc) << "is stored in segments, which are not supported";
  if (static_cast<uint64_t>(tensor.dims_size()) > limits.rank)
    return emitError(loc) << "has rank " << tensor.dims_size() << "; at most " << limits.rank << " is supported";

  uint64_t bytes = bytesOfElement(element);
  bool empty = false, overflow = false;
  for (int64_t dim : tensor.dims()) {
    if (dim < 0 || static_cast<uint64_t>(dim) > limits.dimension)
      return emitError(loc) << "has a dimension of " << dim << "; it must be between 0 and " << limits.dimension;
    empty |= dim == 0;
    bool wrapped = false;
    bytes = dim ? llvm::SaturatingMultiply<uint64_t>(bytes, dim, &wrapped) : bytes;
    overflow |= wrapped;
  }
  if (empty)
    bytes = 0;
  else if (overflow || bytes > limits.tensorBytes)
    return emitError(loc) << "needs more than " << limits.tensorBytes << " bytes for its shape";

  TensorInfo info;
  info.type = RankedTensorType::get(ArrayRef<int64_t>(tensor.dims().data(), tensor.dims_size()), element);
  info.bytes = bytes;
  info.external = tensor.data_location() == proto::TensorProto::EXTERNAL;

  // At most one payload, of the right kind, of the right length.
  const std::pair<TypedField, int> typed[] = {
      {TypedField::Float, tensor.float_data_size()},   {TypedField::Double, tensor.double_data_size()},
      {TypedField::Int32, tensor.int32_data_size()},   {TypedField::Int64, tensor.int64_data_size()},
      {TypedField::Uint64, tensor.uint64_data_size()}, {TypedField::String, tensor.string_data_size()}};
  unsigned payloads = tensor.has_raw_data() && (!tensor.raw_data().empty() || bytes == 0);
  TypedField used = TypedField::None;
  int count = 0;
  for (auto [field, size] : typed)
    if (size > 0) {
      ++payloads;
      used = field;
      count = size;
    }
  if (info.external) {
    if (payloads && !(tensor.has_raw_data() && tensor.raw_data().empty()))
      return emitError(loc) << "names external data but holds data as well";
    return info;
  }
  if (payloads > 1)
    return emitError(loc) << "holds its data twice (raw_data and typed fields)";
  if (used == TypedField::None) {
    if (tensor.raw_data().size() != bytes)
      return emitError(loc) << "holds " << uint64_t(tensor.raw_data().size()) << " bytes of data but its type "
                            << info.type << " needs " << bytes;
    return info;
  }
  if (used != fieldOf(tensor.data_type()))
    return emitError(loc) << "holds its data in a field for another element type than "
                          << nameOfDataType(tensor.data_type());
  if (count != info.type.getNumElements())
    return emitError(loc) << "holds " << count << " elements but its type " << info.type << " needs "
                          << info.type.getNumElements();
  return info;
}

/// Appends the low bytes of `values`; nothing when one of them does not fit into `width` bytes.
template <typename Values>
static LogicalResult narrow(const Values &values, unsigned width, int64_t low, int64_t high, std::string &bytes) {
  for (int64_t value : values) {
    if (value < low || value > high)
      return failure();
    bytes.append(reinterpret_cast<const char *>(&value), width);
  }
  return success();
}

FailureOr<std::string> sparse::import::payloadOf(const proto::TensorProto &tensor, const TensorInfo &info,
                                                 Location loc) {
  auto contiguous = [](const auto &values) {
    return std::string(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(*values.data()));
  };
  if (tensor.float_data_size())
    return contiguous(tensor.float_data());
  if (tensor.double_data_size())
    return contiguous(tensor.double_data());
  if (tensor.int64_data_size())
    return contiguous(tensor.int64_data());
  if (tensor.uint64_data_size() && info.type.getElementTypeBitWidth() == 64)
    return contiguous(tensor.uint64_data());
  if (!tensor.uint64_data_size() && !tensor.int32_data_size())
    return tensor.raw_data();

  // Elements narrower than their field. Floats are bit patterns.
  Type element = info.type.getElementType();
  unsigned bits = element.getIntOrFloatBitWidth();
  bool isUnsigned = element.isUnsignedInteger() || bits == 1 || isa<FloatType>(element);
  int64_t low = isUnsigned ? 0 : llvm::minIntN(bits);
  int64_t high = isUnsigned ? static_cast<int64_t>(llvm::maxUIntN(bits)) : llvm::maxIntN(bits);
  std::string bytes;
  bytes.reserve(info.bytes);
  LogicalResult result = tensor.uint64_data_size()
                             ? narrow(tensor.uint64_data(), bytesOfElement(element), low, high, bytes)
                             : narrow(tensor.int32_data(), bytesOfElement(element), low, high, bytes);
  if (failed(result))
    return emitError(loc) << "has an element outside " << low << " to " << high << ", the range of "
                          << nameOfDataType(tensor.data_type());
  return bytes;
}

DenseElementsAttr sparse::import::elementsOf(RankedTensorType type, StringRef bytes) {
  if (type.getNumElements() == 0)
    return DenseElementsAttr::get(type, ArrayRef<Attribute>());
  if (type.getElementType().isInteger(1)) {
    SmallVector<bool> values;
    for (char byte : bytes)
      values.push_back(byte != 0);
    return DenseElementsAttr::get(type, values);
  }
  return DenseElementsAttr::getFromRawBuffer(type, ArrayRef<char>(bytes.data(), bytes.size()));
}
