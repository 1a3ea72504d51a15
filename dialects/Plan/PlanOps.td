// The plan dialect: kernel regions while the road goes on, and the entry as data at its end.
#ifndef SPARSE_DIALECTS_PLAN_PLANOPS_TD
#define SPARSE_DIALECTS_PLAN_PLANOPS_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::sparse::plan";
  let summary = "kernels and the straight line in which an entry runs them";
  let description = [{
    `plan.kernel` is one kernel's work on tensors, isolated from its surroundings. After `kernels` an entry is a
    `plan.entry`: buffers and launches, no code. The loader of the runtime reads it as data (docs/architecture.md §5).
  }];
  let useDefaultAttributePrinterParser = 1;
}

def Plan_GeometryAttr : AttrDef<Plan_Dialect, "Geometry"> {
  let mnemonic = "geometry";
  let summary = "how a GPU kernel is launched";
  let description = [{
    Blocks in `grid` and threads in `block` (x, y, z), blocks of one cluster along x, bytes of dynamic `shared` memory.
    `dependent`: the launch may begin before the kernel before it has finished, and waits inside (programmatic dependent
    launch).

    `#plan.geometry<grid = [8, 16, 1], block = [256, 1, 1], cluster = 8, shared = 0, dependent = true>`
  }];
  let parameters = (ins "::mlir::DenseI64ArrayAttr":$grid, "::mlir::DenseI64ArrayAttr":$block, "int64_t":$cluster,
                        "int64_t":$shared, "bool":$dependent);
  let assemblyFormat = "`<` struct(params) `>`";
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

def Plan_KernelOp : Plan_Op<"kernel", [IsolatedFromAbove, SingleBlock]> {
  let summary = "one kernel's work on tensors";
  let description = [{
    The block arguments are the operands. `ties[i] = j` says that result i is the new content of operand j, written in
    place; -1 is a fresh buffer. (Empty `ties`: cache states tie to themselves when they are expanded.)

    ```mlir
    %y = plan.kernel "norm" (%x, %w) {ties = array<i64: -1>} : (tensor<1x64xf32>, tensor<64xf32>) -> tensor<1x64xf32> {
    ^bb0(%a: tensor<1x64xf32>, %b: tensor<64xf32>):
      …
      plan.yield %r : tensor<1x64xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name, Variadic<AnyType>:$inputs, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$ties);
  let results = (outs Variadic<AnyType>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) $body";
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
  }];
  let hasVerifier = 1;
}

def Plan_YieldOp : Plan_Op<"yield", [Terminator, Pure, HasParent<"KernelOp">]> {
  let summary = "results of a kernel region";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Plan_EntryOp : Plan_Op<"entry", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "an entry as data: buffers and launches";
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$kind, I64Attr:$rows, I64Attr:$arena_bytes);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `kind` $kind `rows` $rows `arena` $arena_bytes attr-dict-with-keyword $body";
}

class Plan_Buffer<string mnemonic, dag args, string format> : Plan_Op<mnemonic, [Pure, HasParent<"EntryOp">]> {
  let arguments = args;
  let results = (outs AnyMemRef:$buffer);
  let assemblyFormat = format # " attr-dict `:` type($buffer)";
}
def Plan_InputOp : Plan_Buffer<"input", (ins StrAttr:$name), "$name"> { let summary = "a buffer the runtime fills"; }
def Plan_OutputOp : Plan_Buffer<"output", (ins StrAttr:$name), "$name"> { let summary = "a buffer the runtime reads"; }
def Plan_WeightOp : Plan_Buffer<"weight", (ins FlatSymbolRefAttr:$symbol), "$symbol"> { let summary = "a weight"; }
def Plan_StateOp : Plan_Buffer<"state", (ins I64Attr:$layer, StrAttr:$name), "`layer` $layer $name"> {
  let summary = "a component of a layer's cache";
}
def Plan_ArenaOp : Plan_Buffer<"arena", (ins I64Attr:$offset), "`at` $offset"> {
  let summary = "scratch memory of the entry, `offset` bytes into its arena";
}

def Plan_LaunchOp : Plan_Op<"launch", [HasParent<"EntryOp">]> {
  let summary = "runs a kernel for tasks [0, grid), or as its geometry says";
  let arguments = (ins FlatSymbolRefAttr:$kernel, I64Attr:$grid, Variadic<AnyMemRef>:$buffers,
                       OptionalAttr<Plan_GeometryAttr>:$geometry);
  let assemblyFormat = "$kernel `grid` $grid `(` $buffers `)` attr-dict `:` type($buffers)";
}

def Plan_GemmOp : Plan_Op<"gemm", [HasParent<"EntryOp">]> {
  let summary = "C = A * B (+ C) by a library; B packed [N / 64][K][64], or [N][K][1] on a GPU";
  let arguments = (ins AnyMemRef:$a, AnyMemRef:$b, AnyMemRef:$c, UnitAttr:$accumulate);
  let assemblyFormat = "$a `,` $b `,` $c attr-dict `:` type($a) `,` type($b) `,` type($c)";
}

#endif
