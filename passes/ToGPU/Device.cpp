//===-- Device.cpp - Building blocks of GPU kernels ---------------------------------------------------------------===//
#include "passes/ToGPU/Device.h"
#include "passes/ToLinalg/StoredNumbers.h"

using namespace sparse::device;

//===-- Integers and floats ---------------------------------------------------------------------------------------===//

Value Device::i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value)); }
Value Device::i64(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value)); }
Value Device::f32(double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }
Value Device::boolean(bool value) { return arith::ConstantOp::create(b, loc, b.getBoolAttr(value)); }
Value Device::zero(Type type) { return arith::ConstantOp::create(b, loc, b.getZeroAttr(type)); }
Value Device::add(Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }
Value Device::sub(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
Value Device::mul(Value a, Value c) { return arith::MulIOp::create(b, loc, a, c); }
Value Device::divU(Value a, int64_t by) { return by == 1 ? a : divU(a, i32(by)); }
Value Device::remU(Value a, int64_t by) { return by == 1 ? i32(0) : remU(a, i32(by)); }
Value Device::divU(Value a, Value by) { return arith::DivUIOp::create(b, loc, a, by); }
Value Device::remU(Value a, Value by) { return arith::RemUIOp::create(b, loc, a, by); }
Value Device::ceilDivU(Value a, Value by) { return divU(add(a, sub(by, i32(1))), by); }
Value Device::minS(Value a, Value c) { return arith::MinSIOp::create(b, loc, a, c); }
Value Device::maxS(Value a, Value c) { return arith::MaxSIOp::create(b, loc, a, c); }
Value Device::bitAnd(Value a, Value c) { return arith::AndIOp::create(b, loc, a, c); }
Value Device::bitOr(Value a, Value c) { return arith::OrIOp::create(b, loc, a, c); }
Value Device::bitXor(Value a, Value c) { return arith::XOrIOp::create(b, loc, a, c); }
Value Device::shl(Value a, int64_t by) { return arith::ShLIOp::create(b, loc, a, i32(by)); }
Value Device::shrU(Value a, int64_t by) { return arith::ShRUIOp::create(b, loc, a, i32(by)); }
Value Device::cmp(arith::CmpIPredicate predicate, Value a, Value c) {
  return arith::CmpIOp::create(b, loc, predicate, a, c);
}
Value Device::select(Value condition, Value a, Value c) { return arith::SelectOp::create(b, loc, condition, a, c); }
Value Device::wide(Value value) {
  return value.getType().isInteger(64) ? value : Value(arith::ExtUIOp::create(b, loc, b.getI64Type(), value));
}

static Type withElement(Type like, Type element) {
  if (auto vector = dyn_cast<VectorType>(like))
    return VectorType::get(vector.getShape(), element);
  return element;
}

Value Device::toF32(Value value) {
  return lowering::readStored(b, loc, value);
}
Value Device::fromF32(Value value, Type element) {
  return lowering::writeStored(b, loc, value, element);
}
Value Device::addF(Value a, Value c) { return arith::AddFOp::create(b, loc, a, c); }
Value Device::subF(Value a, Value c) { return arith::SubFOp::create(b, loc, a, c); }
Value Device::mulF(Value a, Value c) { return arith::MulFOp::create(b, loc, a, c); }
Value Device::divF(Value a, Value c) { return arith::DivFOp::create(b, loc, a, c); }
Value Device::fma(Value a, Value c, Value d) { return math::FmaOp::create(b, loc, a, c, d); }
Value Device::maxF(Value a, Value c) { return arith::MaxNumFOp::create(b, loc, a, c); }
Value Device::minF(Value a, Value c) { return arith::MinNumFOp::create(b, loc, a, c); }
Value Device::clz(Value a) { return LLVM::CountLeadingZerosOp::create(b, loc, a.getType(), a, false); }
Value Device::exp2(Value a) {
  return LLVM::CallIntrinsicOp::create(b, loc, a.getType(), b.getStringAttr("llvm.nvvm.ex2.approx.ftz.f"), ValueRange{a})
      .getResult(0);
}
Value Device::log2(Value a) {
  return LLVM::CallIntrinsicOp::create(b, loc, a.getType(), b.getStringAttr("llvm.nvvm.lg2.approx.ftz.f"), ValueRange{a})
      .getResult(0);
}
Value Device::bitcast(Value a, Type type) {
  return a.getType() == type ? a : Value(LLVM::BitcastOp::create(b, loc, type, a));
}

//===-- Who am I --------------------------------------------------------------------------------------------------===//

static Value indexToI32(OpBuilder &b, Location loc, Value index) {
  return arith::IndexCastOp::create(b, loc, b.getI32Type(), index);
}

Value Device::threadId() { return indexToI32(b, loc, gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x)); }
Value Device::blockId(unsigned dim) {
  return indexToI32(b, loc, gpu::BlockIdOp::create(b, loc, static_cast<gpu::Dimension>(dim)));
}
Value Device::opaque(int64_t value) {
  return mul(i32(value), indexToI32(b, loc, gpu::GridDimOp::create(b, loc, gpu::Dimension::z)));
}
Value Device::lane() { return remU(threadId(), kWarp); }
Value Device::warp() { return divU(threadId(), kWarp); }

//===-- Memory ----------------------------------------------------------------------------------------------------===//

/// The type that LLVM has for an element: it knows no floats of eight bits.
static Type inMemory(Type element) {
  return isa<Float8E4M3FNType>(element) ? Type(IntegerType::get(element.getContext(), 8)) : element;
}

Value Device::pointer(Span span, Value index) {
  return LLVM::GEPOp::create(b, loc, span.base.getType(), inMemory(span.element), span.base,
                             ArrayRef<LLVM::GEPArg>{wide(index)});
}

static int64_t bytesOf(Type element, int64_t width) { return element.getIntOrFloatBitWidth() / 8 * width; }

static Type widthOf(Type element, int64_t width) {
  return width == 1 ? element : Type(VectorType::get({width}, element));
}

static LLVM::LoadOp loadFrom(Device &d, Span span, Value index, int64_t width) {
  return LLVM::LoadOp::create(d.b, d.loc, widthOf(inMemory(span.element), width), d.pointer(span, index),
                              std::min<int64_t>(bytesOf(span.element, width), 16));
}

static Value asElement(Device &d, Value loaded, Type element) {
  if (inMemory(element) == element)
    return loaded;
  return arith::BitcastOp::create(d.b, d.loc, withElement(loaded.getType(), element), loaded);
}

Value Device::load(Span span, Value index, int64_t width) {
  return asElement(*this, loadFrom(*this, span, index, width), span.element);
}
Value Device::loadConstant(Span span, Value index, int64_t width) {
  LLVM::LoadOp load = loadFrom(*this, span, index, width);
  load.setInvariant(true);
  return asElement(*this, load, span.element);
}
Value Device::loadOnce(Span span, Value index) {
  Type i32 = b.getI32Type();
  auto words = LLVM::LLVMStructType::getLiteral(b.getContext(), {i32, i32, i32, i32});
  auto dialect = LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT);
  Value loaded = LLVM::InlineAsmOp::create(
                     b, loc, words, ValueRange{pointer(span, index)},
                     "ld.global.nc.L1::no_allocate.L2::256B.v4.b32 {$0, $1, $2, $3}, [$4];", "=r,=r,=r,=r,l",
                     /*has_side_effects=*/false, /*is_align_stack=*/false, LLVM::TailCallKind::None, dialect, ArrayAttr())
                     .getResult(0);
  SmallVector<Value> parts;
  for (int64_t i = 0; i < 4; ++i)
    parts.push_back(LLVM::ExtractValueOp::create(b, loc, loaded, i));
  Value vector = vector::FromElementsOp::create(b, loc, VectorType::get({4}, i32), parts);
  return bitcast(vector, VectorType::get({16 / bytesOf(span.element, 1)}, span.element));
}
Value Device::loadAgain(Span span, Value index, int64_t width) {
  LLVM::LoadOp load = loadFrom(*this, span, index, width);
  load.setVolatile_(true);
  return asElement(*this, load, span.element);
}
void Device::store(Value value, Span span, Value index) {
  auto vector = dyn_cast<VectorType>(value.getType());
  if (inMemory(span.element) != span.element)
    value = arith::BitcastOp::create(b, loc, withElement(value.getType(), inMemory(span.element)), value);
  LLVM::StoreOp::create(b, loc, value, pointer(span, index),
                        std::min<int64_t>(bytesOf(span.element, vector ? vector.getNumElements() : 1), 16));
}

Span Device::shared(Type element, int64_t count, StringRef name) {
  // Globals of the module: a function's attributions would come back as memref descriptors. Kernels don't share them, so
  // the name carries the kernel's.
  auto func = b.getInsertionBlock()->getParent()->getParentOfType<gpu::GPUFuncOp>();
  if (auto direct = dyn_cast<gpu::GPUFuncOp>(b.getInsertionBlock()->getParentOp()))
    func = direct;
  std::string symbol = (func.getName() + "." + name + "." + Twine(sharedCount++)).str();
  OpBuilder at = OpBuilder::atBlockBegin(module.getBody());
  auto type = LLVM::LLVMArrayType::get(element, count);
  LLVM::GlobalOp::create(at, loc, type, /*isConstant=*/false, LLVM::Linkage::Internal, symbol,
                         LLVM::PoisonAttr(), /*alignment=*/128, kShared);
  auto pointer = LLVM::LLVMPointerType::get(b.getContext(), kShared);
  return {LLVM::AddressOfOp::create(b, loc, pointer, symbol), element};
}

Span Device::dynamicShared(Type element, int64_t offset) {
  // External: an internal global of no size would be taken for constant nothing (LLVM sees no store to it).
  StringRef symbol = "dynamic_shared";
  Type byte = b.getI8Type();
  if (!module.lookupSymbol(symbol)) {
    OpBuilder at = OpBuilder::atBlockBegin(module.getBody());
    LLVM::GlobalOp::create(at, loc, LLVM::LLVMArrayType::get(byte, 0), /*isConstant=*/false, LLVM::Linkage::External,
                           symbol, Attribute(), /*alignment=*/1024, kShared);
  }
  auto pointer = LLVM::LLVMPointerType::get(b.getContext(), kShared);
  Value base = LLVM::AddressOfOp::create(b, loc, pointer, symbol);
  return {LLVM::GEPOp::create(b, loc, pointer, byte, base, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(offset)}), element};
}

//===-- Vectors ---------------------------------------------------------------------------------------------------===//

Value Device::element(Value vector, int64_t i) { return vector::ExtractOp::create(b, loc, vector, i); }
Value Device::splat(Value scalar, int64_t width) {
  return width == 1 ? scalar
                    : Value(vector::BroadcastOp::create(b, loc, VectorType::get({width}, scalar.getType()), scalar));
}
Value Device::sumOf(Value vector) {
  auto type = dyn_cast<VectorType>(vector.getType());
  if (!type)
    return vector;
  SmallVector<Value> parts;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    parts.push_back(element(vector, i));
  for (; parts.size() > 1;) {
    SmallVector<Value> next;
    for (size_t i = 0; i + 1 < parts.size(); i += 2)
      next.push_back(addF(parts[i], parts[i + 1]));
    if (parts.size() % 2)
      next.push_back(parts.back());
    parts = next;
  }
  return parts[0];
}

//===-- Warp and block --------------------------------------------------------------------------------------------===//

Value Device::shuffleXor(Value value, int64_t mask) {
  return gpu::ShuffleOp::create(b, loc, value, i32(mask), i32(kWarp), gpu::ShuffleMode::XOR).getShuffleResult();
}
Value Device::shuffle(Value value, Value sourceLane) {
  return gpu::ShuffleOp::create(b, loc, value, sourceLane, i32(kWarp), gpu::ShuffleMode::IDX).getShuffleResult();
}
Value Device::shuffleUp(Value value, int64_t distance) {
  return gpu::ShuffleOp::create(b, loc, value, i32(distance), i32(kWarp), gpu::ShuffleMode::UP).getShuffleResult();
}
Value Device::warpScan(Value value) {
  Value own = lane();
  for (int64_t distance = 1; distance < kWarp; distance *= 2)
    value = add(value, select(ge(own, i32(distance)), shuffleUp(value, distance), i32(0)));
  return value;
}
Value Device::ballot(Value condition) {
  return NVVM::VoteSyncOp::create(b, loc, b.getI32Type(), i32(-1), condition, NVVM::VoteSyncKind::ballot);
}
Value Device::popCount(Value bits) { return LLVM::CtPopOp::create(b, loc, bits.getType(), bits); }
Value Device::warpExtreme(Value value, Extreme extreme) {
  auto kind = extreme == Extreme::LeastUnsigned ? NVVM::ReduxKind::UMIN : NVVM::ReduxKind::UMAX;
  return NVVM::ReduxOp::create(b, loc, value.getType(), value, kind, i32(-1));
}
Value Device::atomicAdd(Value value, Span span, Value index) {
  return LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, pointer(span, index), value,
                                   LLVM::AtomicOrdering::monotonic);
}
Value Device::warpSum(Value value, int64_t width) {
  for (int64_t distance = width / 2; distance > 0; distance /= 2)
    value = addF(value, shuffleXor(value, distance));
  return value;
}
Value Device::warpMax(Value value, int64_t width) {
  for (int64_t distance = width / 2; distance > 0; distance /= 2)
    value = maxF(value, shuffleXor(value, distance));
  return value;
}
void Device::barrier() { gpu::BarrierOp::create(b, loc); }
void Device::syncWarp() { NVVM::SyncWarpOp::create(b, loc, i32(-1)); }
void Device::waitForLaunchBefore() {
  if (!dependentLaunch)
    return;
  NVVM::GriddepcontrolOp::create(b, loc, NVVM::GridDepActionKind::wait);
}
void Device::allowNextLaunch() {
  if (!dependentLaunch)
    return;
  NVVM::GriddepcontrolOp::create(b, loc, NVVM::GridDepActionKind::launch_dependents);
}

//===-- Control ---------------------------------------------------------------------------------------------------===//

SmallVector<Value> Device::loop(Value lower, Value upper, Value step, ValueRange init, Body body) {
  auto loop = scf::ForOp::create(b, loc, lower, upper, step, init,
                                 [&](OpBuilder &, Location at, Value iv, ValueRange carried) {
                                   OpBuilder::InsertionGuard guard(b);
                                   Block *block = cast<BlockArgument>(iv).getOwner();
                                   b.setInsertionPointToEnd(block);
                                   SmallVector<Value> next = body(iv, carried);
                                   scf::YieldOp::create(b, at, next);
                                 });
  return SmallVector<Value>(loop.getResults());
}
void Device::loop(Value lower, Value upper, Value step, function_ref<void(Value iv)> body) {
  loop(lower, upper, step, {}, [&](Value iv, ValueRange) -> SmallVector<Value> {
    body(iv);
    return {};
  });
}
void Device::ifThen(Value condition, function_ref<void()> then) {
  auto branch = scf::IfOp::create(b, loc, TypeRange{}, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  then();
}
SmallVector<Value> Device::ifThenElse(Value condition, function_ref<SmallVector<Value>()> then,
                                      function_ref<SmallVector<Value>()> otherwise) {
  auto build = [&](function_ref<SmallVector<Value>()> body) {
    return [&, body](OpBuilder &nested, Location at) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(nested.getInsertionBlock(), nested.getInsertionPoint());
      SmallVector<Value> values = body();
      scf::YieldOp::create(b, at, values);
    };
  };
  auto branch = scf::IfOp::create(b, loc, condition, build(then), build(otherwise));
  return SmallVector<Value>(branch.getResults());
}
SmallVector<Value> Device::repeatWhile(ValueRange init, function_ref<SmallVector<Value>(ValueRange carried)> body) {
  auto loop = scf::WhileOp::create(
      b, loc, init.getTypes(), init,
      [&](OpBuilder &nested, Location at, ValueRange carried) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPoint(nested.getInsertionBlock(), nested.getInsertionPoint());
        SmallVector<Value> values = body(carried);
        scf::ConditionOp::create(b, at, values[0], ArrayRef(values).drop_front());
      },
      [](OpBuilder &nested, Location at, ValueRange carried) { scf::YieldOp::create(nested, at, carried); });
  return SmallVector<Value>(loop.getResults());
}
