//===-- StreamLoad.cpp - Reads of bytes that are read once --------------------------------------------------------===//
#include "passes/ToGPU/StreamLoad.h"

using namespace sparse::device;

static Value assembly(Device &d, Type result, ValueRange operands, StringRef text, StringRef constraints) {
  return LLVM::InlineAsmOp::create(d.b, d.loc, result, operands, text, constraints, /*has_side_effects=*/true,
                                   /*is_align_stack=*/false, LLVM::TailCallKind::None,
                                   LLVM::AsmDialectAttr::get(d.b.getContext(), LLVM::AsmDialect::AD_ATT), ArrayAttr())
      .getResult(0);
}

Value sparse::device::evictFirst(Device &d) {
  return assembly(d, d.b.getI64Type(), {}, "createpolicy.fractional.L2::evict_first.b64 $0, 1.0;", "=l");
}

StreamLoad::StreamLoad(Device &d) : d(d), policy(evictFirst(d)) {}

SmallVector<Value> StreamLoad::operator()(Value globalPointer) const {
  Type i32 = d.b.getI32Type();
  auto type = LLVM::LLVMStructType::getLiteral(d.b.getContext(), {i32, i32, i32, i32});
  Value loaded = assembly(d, type, {globalPointer, policy},
                          "ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {$0, $1, $2, $3}, [$4], $5;",
                          "=r,=r,=r,=r,l,l");
  SmallVector<Value> registers;
  for (int64_t i = 0; i < 4; ++i)
    registers.push_back(LLVM::ExtractValueOp::create(d.b, d.loc, loaded, i));
  return registers;
}
