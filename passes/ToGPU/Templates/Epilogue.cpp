//===-- Epilogue.cpp - Elementwise ops at the end of a kernel -----------------------------------------------------===//
#include "passes/ToGPU/Templates/Epilogue.h"
#include "passes/ToLinalg/Elementwise.h"

using namespace sparse;
using namespace sparse::device;

FailureOr<Value> sparse::device::applyEpilogue(DeviceKernel &k, DenseMap<Value, Value> entries, Value row,
                                               Value column) {
  Device &d = k.d;
  int64_t width = 1;
  for (auto [value, entry] : entries)
    if (auto vector = dyn_cast<VectorType>(entry.getType()))
      width = vector.getNumElements();
  Value last;
  for (Operation *op : k.ops) {
    if (Value known = op->getNumResults() > 0 ? entries.lookup(op->getResult(0)) : Value()) {
      last = known;
      continue;
    }
    if (!lowering::isElementwise(op))
      continue;
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      if (Value known = entries.lookup(operand)) {
        operands.push_back(known);
        continue;
      }
      if (auto constant = operand.getDefiningOp<onnx::ConstantOp>()) {
        auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
        if (!elements || !elements.isSplat() || !elements.getElementType().isF32())
          return op->emitError("has a constant operand that is no f32 scalar");
        operands.push_back(d.splat(d.f32(elements.getSplatValue<APFloat>().convertToDouble()), width));
        continue;
      }
      Buffer &buffer = k.buffer(operand);
      Value loaded = buffer.shape.size() == 1 ? k.load(buffer, {column}, width) : k.load(buffer, {row, column}, width);
      operands.push_back(d.toF32(loaded));
    }
    last = lowering::scalarOf(d.b, d.loc, op, operands);
    if (!last)
      return op->emitError("has no scalar form");
    entries[op->getResult(0)] = last;
  }
  return last;
}
