//===-- PlanWriter.cpp - plan.entry as JSON -----------------------------------------------------------------------===//
#include "lib/Package/PlanWriter.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace sparse;
using llvm::json::Array;
using llvm::json::Object;

static int64_t bytesOf(Type type) {
  auto memref = cast<MemRefType>(type);
  return memref.getNumElements() * ((memref.getElementTypeBitWidth() + 7) / 8);
}

static StringRef typeName(Type type) {
  if (type.isF32())
    return "f32";
  if (type.isBF16())
    return "bf16";
  if (type.isF16())
    return "f16";
  if (isa<Float8E4M3FNType>(type))
    return "f8e4m3fn";
  if (type.isInteger(8))
    return "i8";
  return type.isInteger(32) ? "i32" : "i64";
}

llvm::json::Value sparse::package::planToJSON(plan::EntryOp entry) {
  Array buffers, steps;
  DenseMap<Value, int64_t> index;
  auto buffer = [&](Value value, Object object) {
    index[value] = buffers.size();
    buffers.push_back(std::move(object));
  };
  for (Operation &op : entry.getBody().front())
    llvm::TypeSwitch<Operation *>(&op)
        .Case([&](plan::InputOp input) {
          buffer(input.getBuffer(), Object{{"kind", "input"}, {"name", input.getName()}, {"bytes", bytesOf(input.getBuffer().getType())}});
        })
        .Case([&](plan::OutputOp output) {
          buffer(output.getBuffer(), Object{{"kind", "output"}, {"name", output.getName()}, {"bytes", bytesOf(output.getBuffer().getType())}});
        })
        .Case([&](plan::WeightOp weight) {
          buffer(weight.getBuffer(), Object{{"kind", "weight"}, {"name", weight.getSymbol()}, {"bytes", bytesOf(weight.getBuffer().getType())},
                                          {"dtype", typeName(cast<MemRefType>(weight.getBuffer().getType()).getElementType())}});
        })
        .Case([&](plan::ArenaOp arena) {
          buffer(arena.getBuffer(), Object{{"kind", "arena"}, {"offset", int64_t(arena.getOffset())}, {"bytes", bytesOf(arena.getBuffer().getType())}});
        })
        .Case([&](plan::StateOp state) {
          buffer(state.getBuffer(), Object{{"kind", "state"}, {"layer", int64_t(state.getLayer())}, {"name", state.getName()}});
        })
        .Case([&](plan::LaunchOp launch) {
          Array args;
          for (Value value : launch.getBuffers())
            args.push_back(index[value]);
          Object step{{"op", "launch"}, {"kernel", launch.getKernel()}, {"args", std::move(args)}};
          if (auto geometry = launch.getGeometryAttr()) {
            step["grid"] = Array(geometry.getGrid().asArrayRef());
            step["block"] = Array(geometry.getBlock().asArrayRef());
            step["cluster"] = geometry.getCluster();
            step["shared"] = geometry.getShared();
            step["dependent"] = geometry.getDependent();
          } else {
            step["grid"] = int64_t(launch.getGrid());
          }
          steps.push_back(std::move(step));
        })
        .Case([&](plan::GemmOp gemm) {
          auto a = cast<MemRefType>(gemm.getA().getType()), b = cast<MemRefType>(gemm.getB().getType());
          steps.push_back(Object{{"op", "gemm"},
                                 {"m", a.getDimSize(0)},
                                 {"n", b.getDimSize(0) * b.getDimSize(2)},
                                 {"k", a.getDimSize(1)},
                                 {"a", index[gemm.getA()]},
                                 {"b", index[gemm.getB()]},
                                 {"c", index[gemm.getC()]},
                                 {"format", b.getDimSize(2) == 1 ? "rows" : "panel64"},
                                 {"dtype", typeName(b.getElementType())},
                                 {"accumulate", gemm.getAccumulate()}});
        });
  return Object{{"entry", entry.getSymName()},
                {"kind", entry.getKind()},
                {"rows", int64_t(entry.getRows())},
                {"arena_bytes", int64_t(entry.getArenaBytes())},
                {"buffers", std::move(buffers)},
                {"steps", std::move(steps)}};
}

static llvm::json::Value initialValue(TypedAttr init) {
  if (auto integer = dyn_cast<IntegerAttr>(init))
    return integer.getInt();
  APFloat value = cast<FloatAttr>(init).getValue();
  if (value.isInfinity())
    return value.isNegative() ? "-inf" : "inf";
  return cast<FloatAttr>(init).getValueAsDouble();
}

llvm::json::Value sparse::package::layoutToJSON(kvcache::LayoutAttr layout) {
  Array caps, components;
  for (int64_t head = 0; head < layout.getKvHeads(); ++head) {
    kvcache::LayoutAttr::Cap cap = layout.getCap(head);
    if (cap.over != 0)
      caps.push_back(Object{{"most", cap.most}, {"over", cap.over}, {"least", cap.least}});
    else
      caps.push_back(cap.most > 0 ? llvm::json::Value(cap.most) : llvm::json::Value(nullptr));
  }
  for (auto &component : layout.getComponents()) {
    if (component.isPool())
      continue;
    SmallVector<int64_t> sizes(component.tensor.getShape().drop_front());
    bool byChannel = layout.isByChannel(component);
    if (byChannel)
      std::swap(sizes[1], sizes[2]);
    Object object{{"name", component.name},
                  {"dtype", typeName(component.tensor.getElementType())},
                  {"shape", Array(sizes)},
                  {"scope", kvcache::stringifyScope(component.scope)},
                  {"init", initialValue(component.init)}};
    if (byChannel)
      object["axis"] = 2;
    if (component.content)
      object["content"] = true;
    if (component.counter)
      object["counter"] = true;
    components.push_back(std::move(object));
  }
  return Object{{"kv_heads", layout.getKvHeads()},
                {"page", layout.getPage()},
                {"page_bytes", layout.getPageBytes()},
                {"key_bytes", layout.getKeyBytes()},
                {"slot_bytes", layout.getPageBytes() / layout.getPage()},
                {"dtype", typeName(layout.getElementType())},
                {"slotted", layout.getSlotted()},
                {"max_pages", layout.getMaxPages()},
                {"caps", std::move(caps)},
                {"prefill_cap", kvcache::stringifyPrefillCap(layout.getPrefillCap())},
                {"writes_in_place", layout.getSlotted()},
                {"components", std::move(components)}};
}
