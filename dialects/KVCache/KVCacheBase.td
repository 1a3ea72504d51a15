// The kvcache dialect: cache state as SSA values, and how it lies in memory.
#ifndef SPARSE_DIALECTS_KVCACHE_KVCACHEBASE_TD
#define SPARSE_DIALECTS_KVCACHE_KVCACHEBASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def KVCache_Dialect : Dialect {
  let name = "kvcache";
  let cppNamespace = "::sparse::kvcache";
  let summary = "paged key-value cache state";
  let description = [{
    The cache of one layer is one SSA value of type `!kvcache.layer`, which says how it lies in memory. Ops take a
    state and return the next one. At `linalg` a layer becomes ordinary tensors, one per component (`key`, `value`,
    `table`, `count`, `victim`, then `position` and `tail` when slots are reused, then the fields of the policies), each
    with the cache sequence as its leading dimension (pages for `key` and `value`). docs/architecture.md §4 and §6 are
    the protocol between these ops and the runtime.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

def KVCache_Scope : I32EnumAttr<"Scope", "what a field has one entry for", [
    I32EnumAttrCase<"Slot", 0, "slot">, I32EnumAttrCase<"Page", 1, "page">, I32EnumAttrCase<"Head", 2, "head">]> {
  let cppNamespace = "::sparse::kvcache";
  let genSpecializedAttr = 0;
}

def KVCache_PrefillCap : I32EnumAttr<"PrefillCap", "when a capped layer is compacted while a prompt is read", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"End", 1, "end">, I32EnumAttrCase<"Chunk", 2, "chunk">]> {
  let cppNamespace = "::sparse::kvcache";
  let genSpecializedAttr = 0;
}

class KVCache_Attr<string name, string mnem> : AttrDef<KVCache_Dialect, name> {
  let mnemonic = mnem;
}

def KVCache_FieldAttr : KVCache_Attr<"Field", "field"> {
  let summary = "one side array that a policy keeps beside the keys and values";
  let description = [{
    `shape` is the shape of one entry (empty: a scalar), `init` the value of a fresh one. A `content` field is a function
    of the keys and values of its page or slot alone: it is rebuilt when slots move. Any other field moves with its
    slot. A `counter` is an i32 per head which the runtime shows to the user.

    `#kvcache.field<name = "page_max", scope = page, type = f32, shape = [64], init = 0xFF800000 : f32, content = true,
    counter = false>`
  }];
  let parameters = (ins "::mlir::StringAttr":$name, EnumParameter<KVCache_Scope>:$scope, "::mlir::Type":$type,
                        "::mlir::DenseI64ArrayAttr":$shape, "::mlir::TypedAttr":$init, "bool":$content,
                        "bool":$counter);
  let assemblyFormat = "`<` struct(params) `>`";
}

def KVCache_LayoutAttr : KVCache_Attr<"Layout", "layout"> {
  let summary = "how the cache of one layer lies in memory, and the policies that govern it";
  let description = [{
    A page holds `page` slots of one (sequence, KV head): the keys as `[key_dim][page]`, or as `[page][key_dim]` with
    `keys_by_slot`, then the values as `[page][value_dim]`. Kernels index keys as [page id, channel, slot] either way.
    Vector fields of pages lie as `[max_pages][channel]`, or as `[channel][max_pages]` with `fields_by_channel`; kernels
    index them as [sequence, head, page, channel] either way. `slotted = false`: slot i holds position i. `slotted = true`: positions are stored, evicted
    slots are reused. `caps` has one entry per KV head: the most slots kept between steps, -1 for everything.
    `max_pages` is the width of the page table per head. With `cap_over` and `cap_least` the cap of a head in a sequence of n
    tokens is `max(cap_least, min(cap, cap * n / cap_over))`, rounded down; a `cap_over` of 0 is a constant cap.
    With `caps_of_prompt` there is a component `budget` (i32 per KV head): where it is not 0, it is the cap of this head
    of this sequence, set once from the first prompt, and no more than that of `caps`.

    A field `likely` (head scope, i32, `shape` [P]) names slots that the next step will probably evict, -1 past the last. It
    is a hint and may name any slot.

    Keys and values are numbers of `type`, unless `storage` is i8 or f8E4M3FN: then pages hold codes, a number is its code
    times the scale of its slot, and the components `key_scale` and `value_scale` (f16 [heads, slots]) hold the scales.
  }];
  let parameters = (ins "int64_t":$kv_heads, "int64_t":$key_dim, "int64_t":$value_dim, "int64_t":$page,
                        "::mlir::Type":$type, "bool":$slotted, "int64_t":$max_pages,
                        "::mlir::DenseI64ArrayAttr":$caps, EnumParameter<KVCache_PrefillCap>:$prefill_cap,
                        "::mlir::ArrayAttr":$fields, "::mlir::ArrayAttr":$policies,
                        DefaultValuedParameter<"bool", "false">:$keys_by_slot,
                        DefaultValuedParameter<"bool", "false">:$fields_by_channel,
                        DefaultValuedParameter<"::mlir::Type", "nullptr">:$storage,
                        DefaultValuedParameter<"::mlir::DenseI64ArrayAttr", "::mlir::DenseI64ArrayAttr()">:$cap_over,
                        DefaultValuedParameter<"::mlir::DenseI64ArrayAttr", "::mlir::DenseI64ArrayAttr()">:$cap_least,
                        DefaultValuedParameter<"bool", "false">:$caps_of_prompt);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// One array of the cache as kernels see it. `tensor` has a dynamic leading dimension: pages for `key` and
    /// `value`, cache sequences for every other.
    struct Component {
      ::llvm::StringRef name;
      ::mlir::RankedTensorType tensor;
      Scope scope = Scope::Head;
      ::mlir::TypedAttr init = {};
      bool content = false;
      bool counter = false;
      bool isPool() const { return name == "key" || name == "value"; }
    };
    /// All components in the order in which a layer expands.
    ::llvm::SmallVector<Component> getComponents() const;
    int64_t getMaxSlots() const { return getMaxPages() * getPage(); }
    /// The element type of pages: that of codes, or the type of the numbers themselves.
    ::mlir::Type getElementType() const { return getStorage() ? getStorage() : getType(); }
    bool isQuantized() const { return getElementType() != getType(); }
    int64_t getElementBytes() const;
    int64_t getKeyBytes() const { return getPage() * getKeyDim() * getElementBytes(); }
    int64_t getPageBytes() const { return getKeyBytes() + getPage() * getValueDim() * getElementBytes(); }
    bool isCapped() const;
    /// The cap of one head: its most slots (-1: no cap), and how it follows the length.
    struct Cap {
      int64_t most, over, least;
      bool operator==(const Cap &other) const {
        return most == other.most && over == other.over && least == other.least;
      }
    };
    Cap getCap(int64_t head) const;
    /// The largest of the caps: the slots that a compaction may keep of a head; -1 where no head has a cap.
    int64_t getWidestCap() const { return *::llvm::max_element(getCaps().asArrayRef()); }
    /// Slots of a head that the field `likely` names; 0 without it.
    int64_t getLikely() const;
    /// Whether a component is a field that lies as [channel][page].
    bool isByChannel(const Component &component) const;
    /// The memref that kernels take for a component: pages are `page_bytes` apart.
    ::mlir::MemRefType getMemRefType(const Component &component) const;
  }];
}

def KVCache_LayerType : TypeDef<KVCache_Dialect, "Layer"> {
  let mnemonic = "layer";
  let summary = "the cache of one layer, for all sequences";
  let parameters = (ins "::sparse::kvcache::LayoutAttr":$layout);
  let assemblyFormat = "`<` $layout `>`";
}

#endif
