//===-- WeightData.cpp - Elements of small weights ----------------------------------------------------------------===//
#include "passes/Raise/WeightData.h"

#include "dialects/ONNX/ONNX.h"

#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace sparse;
using namespace sparse::raise;

/// A tensor along one axis only. Matrices are weights of products: their elements tell recognition nothing.
static bool isVector(RankedTensorType type) {
  int64_t longAxes = 0;
  for (int64_t extent : type.getShape())
    longAxes += extent != 1;
  return longAxes <= 1;
}

HostTensor sparse::raise::readInitializer(Operation *symbol, bool evenIfLarge) {
  auto initializer = dyn_cast<onnx::InitializerOp>(symbol);
  if (!initializer) {
    auto type = cast<RankedTensorType>(cast<onnx::DerivedOp>(symbol).getType());
    return HostTensor::ofShape(type.getShape(), type.getElementType());
  }
  auto type = cast<RankedTensorType>(initializer.getType());
  HostTensor unknown = HostTensor::ofShape(type.getShape(), type.getElementType());
  bool wanted = evenIfLarge || isVector(type) || !isa<FloatType>(type.getElementType());
  if (!wanted || type.getNumElements() > 4 * kMaxElements)
    return unknown;
  if (initializer.getValue())
    return HostTensor::ofAttribute(*initializer.getValue());
  auto buffer =
      llvm::MemoryBuffer::getFileSlice(*initializer.getFile(), *initializer.getLength(), *initializer.getOffset());
  if (!buffer)
    return unknown;
  StringRef bytes = (*buffer)->getBuffer();
  // MLIR keeps booleans as bits, ONNX as bytes.
  if (type.getElementType().isInteger(1))
    return HostTensor::ofInts(type.getShape(), type.getElementType(), std::vector<int64_t>(bytes.begin(), bytes.end()));
  bool isSplat;
  ArrayRef<char> raw(bytes.data(), bytes.size());
  if (!DenseElementsAttr::isValidRawBuffer(type, raw, isSplat))
    return unknown;
  return HostTensor::ofAttribute(DenseElementsAttr::getFromRawBuffer(type, raw));
}
