//===-- OpsetForms.cpp - Operators as older opsets wrote them -----------------------------------------------------===//
#include "lib/Import/OpsetForms.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace sparse::import;

/// Softmax before opset 13 flattened the input to a matrix at `axis`. That is today's softmax only for the last axis.
static bool adaptSoftmax(NodeForm &form) {
  auto given = dyn_cast_or_null<IntegerAttr>(form.attributes.get("axis"));
  int64_t axis = given ? given.getInt() : 1;
  auto type = form.operands.empty() || !form.operands[0] ? nullptr
                                                         : dyn_cast<RankedTensorType>(form.operands[0].getType());
  if (axis != -1 && (!type || axis != type.getRank() - 1))
    return false;
  if (!form.operands.empty() && form.operands[0])
    form.attributes.set("axis", IntegerAttr::get(IntegerType::get(form.operands[0].getContext(), 64), -1));
  return true;
}

bool sparse::import::adaptToNewestForm(NodeForm &form, int64_t version,
                                       llvm::function_ref<Value(ArrayRef<int64_t>)> constant) {
  StringRef op = form.opType;
  // Moves the integer list `name` to operand `index`.
  auto toOperand = [&](StringRef name, unsigned index) {
    auto list = dyn_cast_or_null<DenseI64ArrayAttr>(form.attributes.erase(name));
    if (!list)
      return;
    form.operands.resize(std::max<size_t>(form.operands.size(), index + 1));
    if (!form.operands[index])
      form.operands[index] = constant(list.asArrayRef());
  };

  // The version from which on the list is an operand.
  int64_t axesOperand = llvm::StringSwitch<int64_t>(op)
                            .Cases({"Squeeze", "Unsqueeze", "ReduceSum"}, 13)
                            .Cases({"ReduceMean", "ReduceMax", "ReduceMin"}, 18)
                            .Default(0);
  if (version < axesOperand) {
    toOperand("axes", 1);
  } else if (op == "Slice" && version < 10) {
    toOperand("starts", 1);
    toOperand("ends", 2);
    toOperand("axes", 3);
  } else if (op == "Split" && version < 13) {
    toOperand("split", 1);
  } else if (op == "Reshape" && version < 5) {
    toOperand("shape", 1);
  } else if (op == "Softmax" && version < 13) {
    return adaptSoftmax(form);
  } else if (op == "Cast" && version < 6) {
    return false; // the target is a string
  } else if (op == "Dropout" && version < 12) {
    // At inference the ratio has no effect.
    form.attributes.erase("ratio");
    form.attributes.erase("is_test");
  }
  // The default; other rounding only concerns 8-bit floats with an exponent only.
  if (op == "Cast")
    if (auto mode = dyn_cast_or_null<StringAttr>(form.attributes.get("round_mode")); mode && mode == "up")
      form.attributes.erase("round_mode");
  return true;
}
