//===-- Plan.cpp - The plan dialect -------------------------------------------------------------------------------===//
#include "dialects/Plan/Plan.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace sparse::plan;

#include "dialects/Plan/PlanDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Plan/PlanAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Plan/PlanOps.cpp.inc"

void PlanDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Plan/PlanAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Plan/PlanOps.cpp.inc"
      >();
}

LogicalResult KernelOp::verify() {
  if (getBlock()->getArgumentTypes() != getInputs().getTypes())
    return emitOpError("has block arguments that do not match its operands");
  auto yield = dyn_cast<YieldOp>(getBlock()->getTerminator());
  if (!yield || yield.getValues().getTypes() != getOutputs().getTypes())
    return emitOpError("must end in a plan.yield of its result types");
  if (getTies().empty())
    return success();
  if (getTies().size() != getNumResults())
    return emitOpError("has ") << getTies().size() << " ties for " << getNumResults() << " results";
  for (auto [result, tie] : llvm::zip(getOutputs(), getTies())) {
    if (tie >= static_cast<int64_t>(getInputs().size()) || tie < -1)
      return emitOpError("ties a result to operand ") << tie << " of " << getInputs().size();
    if (tie >= 0 && getInputs()[tie].getType() != result.getType())
      return emitOpError("ties a result of type ") << result.getType() << " to an operand of another type";
  }
  return success();
}
