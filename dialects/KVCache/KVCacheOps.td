#ifndef SPARSE_DIALECTS_KVCACHE_KVCACHEOPS_TD
#define SPARSE_DIALECTS_KVCACHE_KVCACHEOPS_TD

include "dialects/KVCache/KVCacheBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def KVCache_Rows : Type<CPred<"::llvm::isa<::mlir::RankedTensorType>($_self)">, "tensor">;

/// An op that gives the next state of the layer it takes.
defvar KVCache_Next = [Pure, AllTypesMatch<["state", "result"]>];

class KVCache_Op<string mnemonic, list<Trait> traits = []> : Op<KVCache_Dialect, mnemonic, traits> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def KVCache_AppendOp : KVCache_Op<"append", KVCache_Next> {
  let summary = "the state with one key and value per row added";
  let description = [{
    Row t adds `key[t]`, `value[t]` (f32 [T, KV heads * dim], rotated already) of position `positions[t]` to the cache of
    sequence `sequences[t]`, unless `active[t]` is 0. In decode (no `prefill`) the row takes the victim's slot when
    there is one, else slot `count`; with `prefill` all rows belong to one sequence and take slots count, count + 1, ….
    Content fields of the page are updated with the new key. Without a reserved page `status[0]` becomes 1 and nothing is
    written.

    ```mlir
    %s1, %e = kvcache.append %s0, %k, %v, %positions, %sequences, %active, %status : (…) -> (!kvcache.layer<…>, tensor<1xi32>)
    ```
  }];
  let arguments = (ins KVCache_LayerType:$state, KVCache_Rows:$key, KVCache_Rows:$value, KVCache_Rows:$positions,
                       KVCache_Rows:$sequences, KVCache_Rows:$active, KVCache_Rows:$status, UnitAttr:$prefill);
  let results = (outs KVCache_LayerType:$result, KVCache_Rows:$new_status);
  let hasVerifier = 1;
}

def KVCache_CompressOp : KVCache_Op<"compress", KVCache_Next> {
  let summary = "the state after the policies have seen a step: statistics updated, one slot freed where a cap is exceeded";
  let description = [{
    `mass` (f32 [B, KV heads, slots], or none) is the attention probability that each slot received in this step, summed
    over the queries of the group; B is T in decode and 1 with `prefill`. Fields are updated by the layer's policies; in
    decode each head with more live slots than its cap evicts the slot of least key (ties: the older), which becomes its
    victim; `evicted` (i32 [B, KV heads], or none) is the position of that slot, -1 where nothing was evicted. The key and
    the value of a victim are there until the next append.
  }];
  let arguments = (ins KVCache_LayerType:$state, Variadic<KVCache_Rows>:$mass, KVCache_Rows:$positions,
                       KVCache_Rows:$sequences, KVCache_Rows:$active, UnitAttr:$prefill);
  let results = (outs KVCache_LayerType:$result, Variadic<KVCache_Rows>:$evicted);
  let hasVerifier = 1;
}

def KVCache_ChooseOp : KVCache_Op<"choose", [Pure]> {
  let summary = "which slots of one sequence stay when its capped heads are compacted";
  let description = [{
    `kept[h]` (i32 [KV heads]) is the number of slots that head h keeps, or -1 when it is left alone: no cap, or neither
    over it nor with a hole. `order[h, j]` (i32 [KV heads, widest cap]) is the slot of the j-th kept key by position. The
    `cap` slots of greatest key stay, ties the older.
  }];
  let arguments = (ins KVCache_LayerType:$state, KVCache_Rows:$sequences);
  let results = (outs KVCache_Rows:$order, KVCache_Rows:$kept, KVCache_Rows:$keys);
  let hasVerifier = 1;
}

def KVCache_GatherOp : KVCache_Op<"gather", [Pure]> {
  let summary = "copies of the chosen slots: keys, values, positions, then the slot fields";
  let arguments = (ins KVCache_LayerType:$state, KVCache_Rows:$sequences, KVCache_Rows:$order, KVCache_Rows:$kept);
  let results = (outs Variadic<KVCache_Rows>:$slots);
  let hasVerifier = 1;
}

def KVCache_PlaceOp : KVCache_Op<"place", KVCache_Next> {
  let summary = "the state with gathered slots in the first slots of their heads";
  let description = [{
    Writes what `kvcache.gather` copied into slots 0, 1, … of every head with kept >= 0, frees the rest, sets `count`, clears
    `victim`, and rebuilds the content fields of these pages.
  }];
  let arguments = (ins KVCache_LayerType:$state, KVCache_Rows:$sequences, KVCache_Rows:$kept,
                       Variadic<KVCache_Rows>:$slots);
  let results = (outs KVCache_LayerType:$result);
  let hasVerifier = 1;
}

def KVCache_RebuildOp : KVCache_Op<"rebuild", KVCache_Next> {
  let summary = "the state with the content fields of one sequence recomputed from its slots";
  let arguments = (ins KVCache_LayerType:$state, KVCache_Rows:$sequences);
  let results = (outs KVCache_LayerType:$result);
  let hasVerifier = 1;
}

#endif
