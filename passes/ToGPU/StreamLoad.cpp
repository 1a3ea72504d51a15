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

SmallVector<Value> StreamLoad::operator()(Value globalPointer, int64_t registers) const {
  auto type = LLVM::LLVMStructType::getLiteral(d.b.getContext(), SmallVector<Type>(registers, d.b.getI32Type()));
  bool four = registers == 4;
  Value loaded = assembly(d, type, {globalPointer, policy},
                          four ? "ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {$0, $1, $2, $3}, [$4], $5;"
                               : "ld.global.nc.L1::no_allocate.L2::cache_hint.v2.u32 {$0, $1}, [$2], $3;",
                          four ? "=r,=r,=r,=r,l,l" : "=r,=r,l,l");
  SmallVector<Value> words;
  for (int64_t i = 0; i < registers; ++i)
    words.push_back(LLVM::ExtractValueOp::create(d.b, d.loc, loaded, i));
  return words;
}
