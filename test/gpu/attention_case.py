"""One decode step of attention as an entry on its own: the shape, and the IR that the compiler starts from."""

import dataclasses
import json

DENSE_TWIN = "_dense"  # end of the name of a dense case that gives the bits of the selecting one
NEGATIVE_INFINITY = {"f32": "0xFF800000", "bf16": "0xFF80", "f16": "0xFC00"}
INFINITY = {"f32": "0x7F800000", "bf16": "0x7F80", "f16": "0x7C00"}


@dataclasses.dataclass
class Selection:
    """Pages by Quest's bound."""

    pages: int
    sinks: int = 0
    group: str = "max"
    per_query_head: bool = False
    over: int = 0  # tokens over which the budget grows; 0: it is constant


@dataclasses.dataclass
class Streaming:
    """First and most recent tokens, of all KV heads or of some."""

    sinks: int
    window: int
    heads: tuple = ()


@dataclasses.dataclass
class Case:
    name: str
    rows: int = 1
    heads: int = 4
    kv_heads: int = 2
    key_dim: int = 64
    value_dim: int = 64
    page: int = 16
    max_pages: int = 64
    dtype: str = "bf16"
    slotted: bool = False
    softcap: float = 0.0
    window: int = -1
    streaming: Streaming | None = None
    selection: Selection | None = None
    fields_by_channel: bool = False
    mass: bool = False  # what each slot receives is an output
    shows_list: bool = True  # the selected pages are outputs, too, so that kernels between them stay apart
    full: bool = False  # from the projections: query and key are rotated, key and value appended
    prefill: bool = False  # the rows are a chunk of one sequence, its last positions
    storage: str = ""  # i8 or f8E4M3FN: pages hold codes
    evict: int = 0  # that many slots stay, half of them recent: a full step that chooses its victim, too
    method: str = "h2o"  # who evicts: h2o; cam over h2o; d2o
    likely: int = 0  # slots of a head that are named as the next victims, for d2o

    @property
    def scale(self):
        return self.key_dim**-0.5

    @property
    def selecting(self):
        return self.heads if self.selection and self.selection.per_query_head else self.kv_heads

    @property
    def batch(self):
        """Sequences of a step."""
        return 1 if self.prefill else self.rows

    @property
    def groups(self):
        return self.heads // self.selecting

    @property
    def budget(self):
        return min(self.selection.pages, self.max_pages)

    def pages_of(self, live):
        """Pages that a query reads of a head with `live` tokens."""
        s = self.selection
        if s.over == 0:
            return self.budget
        tokens = min(s.pages * self.page, s.pages * self.page * live // s.over)
        return min(max(tokens // self.page, s.sinks + 1), self.budget)

    def to_json(self):
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value):
        value = dict(value)
        if value["selection"]:
            value["selection"] = Selection(**value["selection"])
        if value["streaming"]:
            value["streaming"] = Streaming(**{**value["streaming"], "heads": tuple(value["streaming"]["heads"])})
        return Case(**value)


def _layout(case):
    fields, policies = [], []
    if case.selection:
        for name, init in (("page_max", NEGATIVE_INFINITY), ("page_min", INFINITY)):
            fields.append(
                f'#kvcache.field<name = "{name}", scope = page, type = {case.dtype}, shape = [{case.key_dim}], '
                f"init = {init[case.dtype]} : {case.dtype}, content = true, counter = false>"
            )
        policies.append(_policy(case))
    if case.streaming:
        heads = ", ".join(map(str, case.streaming.heads))
        array = f"array<i64: {heads}>" if heads else "array<i64>"
        policies.append(
            f"#sparsity.streaming<{{heads = {array}, sinks = {case.streaming.sinks} : i64, "
            f"window = {case.streaming.window} : i64}}>"
        )
    if case.evict:
        fields += [_field(*field) for field in _eviction_fields(case)]
        policies += _eviction_policies(case)
    caps = [case.evict or (case.max_pages * case.page if case.slotted else -1)] * case.kv_heads
    return (
        f"#kvcache.layout<kv_heads = {case.kv_heads}, key_dim = {case.key_dim}, value_dim = {case.value_dim}, "
        f"page = {case.page}, type = {case.dtype}, slotted = {str(case.slotted).lower()}, max_pages = {case.max_pages}, "
        f"caps = {caps}, prefill_cap = {'end' if case.evict else 'none'}, fields = [{', '.join(fields)}], policies = [{', '.join(policies)}], "
        f"keys_by_slot = true, fields_by_channel = {str(case.fields_by_channel).lower()}"
        f"{f', storage = {case.storage}' if case.storage else ''}>"
    )


def _field(name, scope, type, init, shape=()):
    counter = str(name == "merged").lower()
    return (f'#kvcache.field<name = "{name}", scope = {scope}, type = {type}, shape = {list(shape)}, init = {init} : {type}, '
            f"content = false, counter = {counter}>")  # fmt: skip


def _eviction_fields(case):
    fields = [("mass", "slot", "f32", "0.0")]
    if case.method == "d2o":
        fields.append(("threshold", "head", "f32", NEGATIVE_INFINITY["f32"]))
    if case.method != "h2o":
        fields.append(("merged", "head", "i32", "0"))
    if case.likely:
        fields.append(("likely", "head", "i32", "-1", (case.likely,)))
    return fields


def _eviction_policies(case):
    """Who evicts, and then who merges if it is another one; with the methods' defaults."""
    half = case.evict // 2
    budget = f"heads = array<i64>, heavy = {half} : i64, least = 0 : i64, "
    rest = f'over = 0 : i64, prefill = "dense", recent = {case.evict - half} : i64'
    if case.method == "d2o":
        return [f'#sparsity.d2o<{{alpha = 0.5 : f64, beta = 0.5 : f64, budgets = "uniform", {budget}merge_keys = true, '
                f'mode = "code", {rest}, sinks = 4 : i64}}>']  # fmt: skip
    cam = '#sparsity.cam<{attention = "gathered", followers = 32 : i64, heads = array<i64>, mode = "bernoulli", seed = 0 : i64}>'
    return [f"#sparsity.h2o<{{{budget}{rest}}}>"] + [cam] * (case.method == "cam")


def _compress(case, state, layer, row, mass):
    """Lines that choose the next victim and merge it; the last gives %compressed."""
    operands = f"{state}, %mass, %positions, %sequences, %active : ({layer}, {mass}, {row}, {row}, {row})"
    if case.method == "h2o":
        return [f"%compressed = kvcache.compress {operands} -> {layer}"]
    share = f"tensor<{case.rows}x{case.kv_heads}xf32>"
    evicted = share.replace("f32", "i32")
    targets = f"tensor<{case.rows}x{case.kv_heads}x{32 if case.method == 'cam' else 1}xi32>"
    policy = _eviction_policies(case)[-1]
    return [
        f"%chosen, %evicted = kvcache.compress {operands} -> ({layer}, {evicted})",
        f"%targets, %share = sparsity.match %chosen, %evicted, %sequences {{layer = 0 : i64, policy = {policy}}} : "
        f"({layer}, {evicted}, {row}) -> ({targets}, {share})",
        f"%compressed = sparsity.merge %chosen, %targets, %share, %sequences {{policy = {policy}}} : "
        f"({layer}, {targets}, {share}, {row}) -> {layer}",
    ]


def _policy(case):
    s = case.selection
    return (
        f'#sparsity.page_topk<{{budget = {s.pages * case.page} : i64, group = "{s.group}", least = 0 : i64, '
        f"over = {s.over} : i64, page = {case.page} : i64, "
        f"per_query_head = {str(s.per_query_head).lower()}, sinks = {s.sinks * case.page} : i64}}>"
    )


def _table(case, name):
    """Rotations of every position, and their type."""
    positions, half = case.max_pages * case.page, case.key_dim // 2
    return f"@{case.name}_{name}", f"tensor<{positions}x{half}xf32>"


def _tables(case):
    """Declarations of the weights that a full case reads; there are no bytes behind them."""
    lines = ""
    for name, type in (_table(case, "cos"), _table(case, "sin")) if case.full else ():
        length = case.max_pages * case.page * (case.key_dim // 2) * 4
        lines += f'  onnx.initializer {name} : {type} file "absent.data" offset 0 length {length} {{onnx.name = "{name[1:]}"}}\n'
    return lines


def _append(case, query, layer, row):
    """Lines that rotate the query to %rotated and extend the layer to %appended; their inputs beyond those of a finished step."""
    key = f"tensor<{case.rows}x{case.kv_heads * case.key_dim}xf32>"
    value = f"tensor<{case.rows}x{case.kv_heads * case.value_dim}xf32>"
    (cos, table), (sin, _) = _table(case, "cos"), _table(case, "sin")
    lines = [f"%cos = onnx.weight {cos} : {table}", f"%sin = onnx.weight {sin} : {table}"]
    for name, source, type, heads in (("rotated", "query", query, case.heads), ("key", "new_key", key, case.kv_heads)):
        lines.append(
            f"%{name} = onnx.RotaryEmbedding %{source}, %cos, %sin, %positions {{num_heads = {heads} : i64}} : "
            f"({type}, {table}, {table}, {row}) -> {type}"
        )
    lines.append(
        f"%appended, %after = kvcache.append %layer, %key, %new_value, %positions, %sequences, %active, %status : "
        f"({layer}, {key}, {value}, {row}, {row}, {row}, tensor<1xi32>) -> ({layer}, tensor<1xi32>)"
    )
    return lines, [("new_key", key), ("new_value", value), ("active", row), ("status", "tensor<1xi32>")]


def _entry(case):
    rows, heads, layer = case.rows, case.heads, f"!kvcache.layer<{_layout(case)}>"
    query, out = f"tensor<{rows}x{heads * case.key_dim}xf32>", f"tensor<{rows}x{heads * case.value_dim}xf32>"
    row, lse = f"tensor<{rows}xi32>", f"tensor<{rows}x{heads}xf32>"
    kind = "prefill" if case.prefill else "decode"
    options = "prefill, " if case.prefill else ""
    options += f"scale = {case.scale:.9e} : f32"
    if case.softcap:
        options += f", softcap = {case.softcap:.9e} : f32"
    if case.window >= 0:
        options += f", window = {case.window} : i64"
    inputs = [("query", query), ("positions", row), ("sequences", row)]
    lines, operands, types, segments = [], "", "", "1, 1, 1, 1, 0, 0"
    q, state = "%query", "%layer"
    if case.full:
        lines, more = _append(case, query, layer, row)
        inputs += more
        q, state = "%rotated", "%appended"
    if case.selection:
        scores = f"tensor<{rows}x{case.selecting}x{case.max_pages}xf32>"
        indices = f"tensor<{rows}x{case.selecting}x{case.budget}xi32>"
        count = f"tensor<{rows}x{case.selecting}xi32>"
        policy = f"{{policy = {_policy(case)}}}"
        lines += [
            f"%scores = sparsity.score {q}, {state}, %sequences {policy} : ({query}, {layer}, {row}) -> {scores}",
            f"%indices, %count = sparsity.select %scores, {state}, %sequences {policy} : "
            f"({scores}, {layer}, {row}) -> ({indices}, {count})",
        ]
        operands, types, segments = ", %indices, %count", f", {indices}, {count}", "1, 1, 1, 1, 1, 1"
    lines += [
        f"%out, %lse = sparsity.attend {q}, {state}, %positions, %sequences{operands} "
        f"{{operandSegmentSizes = array<i32: {segments}>, {options}}} : "
        f"({query}, {layer}, {row}, {row}{types}) -> ({out}, {lse})",
    ]
    results = [("out", out), ("lse", lse)]
    if case.mass or case.evict:
        mass = f"tensor<{case.batch}x{case.kv_heads}x{case.max_pages * case.page}xf32>"
        lines += [
            f"%mass = sparsity.mass {q}, %lse, {state}, %positions, %sequences, %active{operands} "
            f"{{operandSegmentSizes = array<i32: 1, 1, {segments}>, {options}}} : "
            f"({query}, {lse}, {layer}, {row}, {row}, {row}{types}) -> {mass}",
        ]
        inputs += [] if case.full else [("active", row)]
        if case.mass:
            results.append(("mass", mass))
    if case.evict:
        lines += _compress(case, state, layer, row, mass)
    if case.selection:
        results.append(("scores", scores))
        if case.shows_list:
            results += [("indices", indices), ("count", count)]
    named = [f'{type} {{plan.name = "{name}"}}' for name, type in results]
    if case.full:
        results += [("compressed" if case.evict else "appended", layer), ("after", "tensor<1xi32>")]
        named += [layer, "tensor<1xi32>"]
    arguments = ", ".join(f'%{name}: {type} {{plan.name = "{name}"}}' for name, type in inputs)
    body = "\n".join("    " + line for line in lines)
    values, value_types = ", ".join("%" + name for name, _ in results), ", ".join(type for _, type in results)
    return _tables(case) + (
        f"  func.func @{case.name}({arguments}, %layer: {layer}) -> ({', '.join(named)})\n"
        f'      attributes {{plan.kind = "{kind}", plan.rows = {rows} : i64}} {{\n'
        f"{body}\n    return {values} : {value_types}\n  }}\n"
    )


def module_text(cases, arch="sm_90a", multiprocessors=132, shared_memory=232448, clusters=True, more=""):
    """The module after phase `stateful`, one entry for each case; `more` is text of further entries."""
    target = (
        f'#sparsity.target<arch = "{arch}", multiprocessors = {multiprocessors}, shared_memory = {shared_memory}, '
        f"clusters = {str(clusters).lower()}>"
    )
    return f"module attributes {{sparsity.target = {target}}} {{\n{''.join(map(_entry, cases))}{more}}}\n"


def cases_text(cases):
    return json.dumps([case.to_json() for case in cases], indent=1)
