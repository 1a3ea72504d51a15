// The sparsity dialect: sites, policies, lowering choices.
#ifndef SPARSE_DIALECTS_SPARSITY_SPARSITYBASE_TD
#define SPARSE_DIALECTS_SPARSITY_SPARSITYBASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Sparsity_Dialect : Dialect {
  let name = "sparsity";
  let cppNamespace = "::sparse::sparsity";
  let summary = "where and how a model may be sparse";
  let description = [{
    `#sparsity.site` says what an op is in the model; a policy attribute on a site says what may be skipped there. Ops
    compute with selections: `score`, `select`, `attend`. Method attributes implement the interfaces of
    SparsityInterfaces.td, which return IR: no pass knows a method by name.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let extraClassDeclaration = [{
    void registerPolicyAttributes();
    ::sparse::sparsity::PolicyRegistry &getPolicies() { return policies; }
  private:
    ::sparse::sparsity::PolicyRegistry policies;
  public:
  }];
}

def Sparsity_Part : I32EnumAttr<"Part", "what an op is in a decoder layer", [
    I32EnumAttrCase<"Attention", 0, "attention">, I32EnumAttrCase<"Q", 1, "q">, I32EnumAttrCase<"K", 2, "k">,
    I32EnumAttrCase<"V", 3, "v">, I32EnumAttrCase<"O", 4, "o">, I32EnumAttrCase<"Gate", 5, "gate">,
    I32EnumAttrCase<"Up", 6, "up">, I32EnumAttrCase<"Act", 7, "act">, I32EnumAttrCase<"Down", 8, "down">,
    I32EnumAttrCase<"Norm", 9, "norm">, I32EnumAttrCase<"Router", 10, "router">,
    I32EnumAttrCase<"Expert", 11, "expert">, I32EnumAttrCase<"Embed", 12, "embed">,
    I32EnumAttrCase<"Head", 13, "head">]> {
  let cppNamespace = "::sparse::sparsity";
  let genSpecializedAttr = 0;
}

class Sparsity_Attr<string name, string mnem, list<Trait> traits = []> : AttrDef<Sparsity_Dialect, name, traits> {
  let mnemonic = mnem;
}

def Sparsity_SiteAttr : Sparsity_Attr<"Site", "site"> {
  let summary = "what an op is: its layer in the source model, and its part";
  let description = [{
    `#sparsity.site<layer = 3, part = attention>`. Layers count from 0 in the source model, also after pruning; -1 is
    outside the layers (embedding, head).
  }];
  let parameters = (ins "int64_t":$layer, EnumParameter<Sparsity_Part>:$part);
  let assemblyFormat = "`<` struct(params) `>`";
}

def Sparsity_Strategy : I32EnumAttr<"Strategy", "how a kernel is lowered", [
    I32EnumAttrCase<"Reference", 0, "reference">, I32EnumAttrCase<"Vector", 1, "vector">,
    I32EnumAttrCase<"Library", 2, "library">, I32EnumAttrCase<"Simt", 3, "simt">,
    I32EnumAttrCase<"Mma", 4, "mma">]> {
  let cppNamespace = "::sparse::sparsity";
  let genSpecializedAttr = 0;
}

def Sparsity_TileCopy : I32EnumAttr<"TileCopy", "how tiles of a cache come to shared memory", [
    I32EnumAttrCase<"Async", 0, "async">, I32EnumAttrCase<"Plain", 1, "plain">, I32EnumAttrCase<"Bulk", 2, "bulk">]> {
  let cppNamespace = "::sparse::sparsity";
  let genSpecializedAttr = 0;
}

def Sparsity_LoweringConfigAttr : Sparsity_Attr<"LoweringConfig", "lowering_config"> {
  let summary = "strategy of one kernel";
  let description = [{
    Set on a `plan.kernel` by `sparse-set-strategy`, overridable in the IR. `reference` keeps the scalar loops of the
    linalg lowering: the meaning of the op. `vector` tiles by `tiles` and vectorizes. `library` hands a linear layer of
    many rows to a GEMM library (`plan.gemm`). Tiles by kernel: linear `[rows]`, attention `[query rows]`. On a GPU,
    `simt` and `mma` (tensor cores) name the template under passes/ToGPU that emits the kernel, `tiles` what it may be
    told; `reference` runs each task of the linalg lowering in one thread.

    `copies` is for kernels that pass pages through shared memory: `async`, a thread's asynchronous copies of 16 bytes;
    `plain`, its loads and stores; `bulk`, rows by the copy engine, which completes on mbarriers (compute capability 9).

    `#sparsity.lowering_config<strategy = vector, tiles = [1, 8]>`
    `#sparsity.lowering_config<strategy = mma, tiles = [], copies = bulk>`
  }];
  let parameters = (ins EnumParameter<Sparsity_Strategy>:$strategy, "::mlir::DenseI64ArrayAttr":$tiles,
                        DefaultValuedParameter<"::sparse::sparsity::TileCopy", "TileCopy::Async">:$copies);
  let builders = [AttrBuilder<(ins "Strategy":$strategy, "::mlir::DenseI64ArrayAttr":$tiles), [{
    return $_get($_ctxt, strategy, tiles, TileCopy::Async);
  }]>];
  let assemblyFormat = "`<` struct(params) `>`";
}

def Sparsity_TargetAttr : Sparsity_Attr<"Target", "target"> {
  let summary = "the device that the entries of a module are compiled for, and what it has";
  let description = [{
    Module attribute `sparsity.target`, set before `stateful`; absent means the CPU. `multiprocessors` is what schedules are
    sized for, `shared_memory` the most bytes of shared memory that one block may ask for; `clusters` says that blocks can
    form clusters and that bulk copies complete on mbarriers (compute capability 9 and later).

    `#sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>`
  }];
  let parameters = (ins "::mlir::StringAttr":$arch, "int64_t":$multiprocessors, "int64_t":$shared_memory,
                        "bool":$clusters);
  let assemblyFormat = "`<` struct(params) `>`";
}

/// A policy of one method: its parameters as a dictionary, completed with the defaults of its specification. Another
/// dialect's methods join by registering in the PolicyRegistry.
class PolicyAttr<Dialect dialect, string name, string mnem, list<Trait> interfaces>
    : AttrDef<dialect, name, interfaces> {
  let mnemonic = mnem;
  let parameters = (ins "::mlir::DictionaryAttr":$params);
  let assemblyFormat = "`<` $params `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Name, summary, source and parameters of the method.
    static const ::sparse::sparsity::PolicySpec &getSpec();
  }];
}

class Sparsity_Policy<string name, string mnem, list<Trait> interfaces>
    : PolicyAttr<Sparsity_Dialect, name, mnem, interfaces>;

#endif
