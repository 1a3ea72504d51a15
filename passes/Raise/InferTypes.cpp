//===-- InferTypes.cpp - Ranked types of all values ---------------------------------------------------------------===//
#include "passes/Passes.h"
#include "passes/Raise/Rewriting.h"

namespace sparse {
#define GEN_PASS_DEF_ONNXINFERTYPESPASS
#include "passes/Passes.h.inc"
} // namespace sparse

using namespace mlir;
using namespace sparse;

namespace {
struct InferTypes : sparse::impl::OnnxInferTypesPassBase<InferTypes> {
  void runOnOperation() override {
    for (func::FuncOp func : raise::functionsOf(getOperation()))
      raise::setRankedTypes(func);
  }
};
} // namespace
