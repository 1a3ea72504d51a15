#!/usr/bin/env python3
"""How fast prompts are computed on one GPU: causal attention as a kernel, and whole prompts.

    gpu_prefill.py --bundle DIR [--only PART]... [--json FILE] [--markdown FILE]

DIR is a folder of benchmarks/gpu_common/make_gpu_bundle.py; in it lies a copy of this file, which needs no --bundle.
Needs PyTorch, NumPy, the CUDA driver and cuBLASLt. Parts:

    attention  32 query and 8 KV heads of 128 channels, 32K tokens: the last chunk of 2,048, and all of them, beside PyTorch's
               attention with its backends flash and cuDNN
    prompt     2,048 tokens of the shape of Llama-3.1-8B, at an empty cache and after 30,720

Exit code 1 if anything failed; the rest is measured all the same.
"""

import dataclasses
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE)] + [str(ROOT / part) for part in ("benchmarks/gpu_common", "benchmarks/gpu_attention", "test/gpu")]

import gpu_parts  # noqa: E402
from gpu_cases import CHUNK, PREFILL, causal_operations  # noqa: E402
from gpu_parts import Spread, Table, rotation  # noqa: E402

DEPTHS = (0, 30720)
ROUNDS = 15
LARGEST_ERROR = 2e-2  # relative, of sampled rows; what is checked is that the right thing was computed


# --- Attention -------------------------------------------------------------------------------------------------------


class Prompt:
    """A cache that is full, and the queries of all its tokens; the same as dense tensors for PyTorch."""

    def __init__(self, case, seed: int) -> None:
        import gpu_attention
        import torch

        self.case, self.length = case, case.max_pages * case.page
        self.cache = gpu_attention.Set(dataclasses.replace(case, rows=1), seed)
        generator = torch.Generator("cuda").manual_seed(1000 + seed)
        width = case.heads * case.key_dim
        self.query = torch.randn(self.length, width, generator=generator, device="cuda")
        self.sequences = torch.zeros(case.rows, dtype=torch.int32, device="cuda")
        starts = range(0, self.length, case.rows)
        self.positions = [torch.arange(start, start + case.rows, dtype=torch.int32, device="cuda") for start in starts]
        self.counts = [torch.full_like(self.cache.count, start + case.rows) for start in starts]
        data = self.cache.pool[self.cache.table[0].long()]
        keys, values = data[..., : case.page * case.key_dim], data[..., case.page * case.key_dim :]
        self.keys = keys.reshape(1, case.kv_heads, self.length, case.key_dim).contiguous()
        self.values = values.reshape(1, case.kv_heads, self.length, case.value_dim).contiguous()
        by_head = self.query.view(self.length, case.heads, case.key_dim).transpose(0, 1)[None]
        self.queries = by_head.bfloat16().contiguous()

    def launches(self, plan, out: dict, chunks: list[int]) -> list:
        result = []
        for chunk in chunks:
            _, state = self.cache.pointers(self.case)
            rows = self.query[chunk * self.case.rows :]
            inputs = {"query": rows, "positions": self.positions[chunk], "sequences": self.sequences}
            pointers = {name: tensor.data_ptr() for name, tensor in inputs.items()}
            result += plan.bind(pointers, out, state | {"count": self.counts[chunk].data_ptr()})
        return result

    def error(self, got, first: int) -> float:
        """Largest relative error of some rows of `got` (positions from `first`, heads, channels), against double precision."""
        import torch

        case, worst = self.case, 0.0
        for row in (0, case.rows // 2 + 3, case.rows - 1):
            for head in (0, case.heads - 1):
                seen, kv = first + row + 1, head // (case.heads // case.kv_heads)
                keys, values = (one[0, kv, :seen].double() for one in (self.keys, self.values))
                query = self.query[first + row].view(case.heads, case.key_dim)[head].double()
                want = torch.softmax(case.scale * keys @ query, 0) @ values
                worst = max(worst, float((got[row, head].double() - want).norm() / want.norm()))
        return worst


def attend(prompt: Prompt, backend: str, last_chunk: bool):
    """PyTorch's causal attention of the whole prompt, or of its last chunk."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.bias import causal_lower_right

    kind = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}[backend]
    sdpa = torch.nn.functional.scaled_dot_product_attention
    with sdpa_kernel(kind):
        if not last_chunk:
            return sdpa(prompt.queries, prompt.keys, prompt.values, is_causal=True, enable_gqa=True)
        queries = prompt.queries[:, :, -prompt.case.rows :]
        bias = causal_lower_right(prompt.case.rows, prompt.length)
        return sdpa(queries, prompt.keys, prompt.values, attn_mask=bias, enable_gqa=True)


def attention_part(bundle: Path) -> Table:
    import attention_case
    import cuda_driver
    import gpu_timing
    import plan_runner
    import torch

    torch.cuda.init()
    device = cuda_driver.Device()
    module = cuda_driver.Module((bundle / "kernels.cubin").read_bytes())
    limit = gpu_timing.matmul_limit()
    torch.cuda.empty_cache()
    cases = map(attention_case.Case.from_json, json.loads((bundle / "cases.json").read_text()))
    (case,) = (one for one in cases if one.name == PREFILL)
    plan = plan_runner.Plan(device, module, bundle / "plans" / f"{case.name}.json")
    out = {name: torch.zeros(size // 4, device="cuda") for name, size in plan.output_bytes().items()}
    prompts = [Prompt(case, seed) for seed in range(rotation(cache_bytes(case), gpu_timing.l2_bytes()))]
    torch.cuda.synchronize()
    columns = ("what", "ms", "TFLOP/s", "MB", "of the limit", "error")
    table = Table("Causal attention, 32/8 heads of 128 channels, bf16", columns)
    table.notes = [
        "Operations are those of visible pairs, 4 x heads x channels each; MB: query, result, and keys and values once.",
        "Ours takes and gives f32 queries and results and reads pages; PyTorch has bf16 and contiguous keys and values.",
        "The last chunk is PyTorch's `causal_lower_right`, for which it has no way to cuDNN: see cuDNN's whole prompt.",
        f"{len(prompts)} prompts rotate; replays take turns, {ROUNDS} each; median (min–max).",
        gpu_timing.matmul_note(limit),
    ]
    chunks = len(prompts[0].positions)
    for last_chunk, what in ((True, f"last chunk of {case.rows:,}"), (False, f"all {prompts[0].length:,}")):
        mine = [chunks - 1] if last_chunk else list(range(chunks))
        replays, errors = {}, {}
        places = {name: tensor.data_ptr() for name, tensor in out.items()}

        def ours(mine=mine, what=what, replays=replays, errors=errors, places=places) -> None:
            bound = [prompt.launches(plan, places, mine) for prompt in prompts]
            for launch in bound[0]:
                launch(device.stream)
            device.synchronize()
            errors["ours"] = checked(prompts[0], out["out"].view(case.rows, case.heads, -1), what)
            replays["ours"] = gpu_timing.plan_replay(device, [launch for one in bound for launch in one])

        def peer(backend, last_chunk=last_chunk, what=what, replays=replays, errors=errors) -> None:
            got = attend(prompts[0], backend, last_chunk)[0, :, -case.rows :].transpose(0, 1)
            errors[backend] = checked(prompts[0], got, what)
            replays[backend] = gpu_timing.torch_replay(lambda: [attend(one, backend, last_chunk) for one in prompts])

        table.attempt(f"{what}: ours", ours)
        for backend in ("flash",) if last_chunk else ("flash", "cudnn"):
            table.attempt(f"{what}: {backend}", lambda backend=backend: peer(backend))
        rows = case.rows * len(mine)
        taken = gpu_timing.in_turns(replays, rounds=ROUNDS)
        for name, values in taken.items():
            spread = Spread.of(values).times(1 / len(prompts))
            add_attention(table, case, what, name, spread, rows, limit, errors[name])
        table.data.append({"name": what, "prompts": len(prompts), "replays_ms": taken})
        torch.cuda.empty_cache()
    return table


def cache_bytes(case) -> int:
    return case.kv_heads * case.max_pages * case.page * (case.key_dim + case.value_dim) * 2


def checked(prompt: Prompt, got, what: str) -> float:
    """The error of the last chunk's rows, unless it is too large."""
    error = prompt.error(got, prompt.length - prompt.case.rows)
    if not error < LARGEST_ERROR:
        raise RuntimeError(f"{what}: what was computed is off by {error:.1e}, the time would mean nothing")
    return error


def add_attention(table: Table, case, what: str, name: str, ms: Spread, rows: int, limit: float, error: float) -> None:
    length = case.max_pages * case.page
    operations = causal_operations(case.heads, case.key_dim, case.value_dim, length - rows, rows)
    element = 4 if name == "ours" else 2
    touched = cache_bytes(case) + rows * case.heads * (case.key_dim + case.value_dim) * element
    rates = Spread(*(operations / one / 1e9 for one in (ms.median, ms.greatest, ms.least)))
    share = f"{rates.median * 1e12 / limit:.0%}"
    table.rows.append((f"{what}: {name}", ms.text(2), rates.text(0), f"{touched / 1e6:,.0f}", share, f"{error:.0e}"))
    table.data.append(
        {"name": what, "by": name, "operations": operations, "bytes": touched, "ms": vars(ms), "error": error, "limit": limit}
    )


# --- Prompts ---------------------------------------------------------------------------------------------------------


def prompt_part(bundle: Path) -> Table:
    import gpu_timing
    import torch

    limit = gpu_timing.matmul_limit()
    torch.cuda.empty_cache()
    columns = ("prompt", "tokens/s", "ms", "TFLOP", "TFLOP/s", "of the limit", "GB")
    table = Table("Prompts of the shape of Llama-3.1-8B, bf16, dense", columns)
    table.notes = [
        f"`sparse-run bench -p {CHUNK} -n 0 -d {','.join(map(str, DEPTHS))} --fill -r 5 --device cuda --weights random:1`, "
        "median (min–max).",
        "TFLOP: products with weights (the head for one token) and visible pairs of attention. GB: weights and cache once.",
        gpu_timing.matmul_note(limit),
    ]
    table.attempt("prompt", lambda: measure_prompts(table, bundle, limit))
    return table


def measure_prompts(table: Table, bundle: Path, limit: float) -> None:
    from shape_bench import DENSE, bench

    depths = ",".join(map(str, DEPTHS))
    rows = bench(bundle, DENSE, "-p", str(CHUNK), "-n", "0", "-d", depths, "-r", "5")
    add_prompts(table, bundle / f"{DENSE}.spx", rows, limit)


def add_prompts(table: Table, artifact: Path, rows: list[dict], limit: float) -> None:
    """The rows of `sparse-run bench`, and the attention that the deeper one has more."""
    from shape_bench import Shape, product_operations, weight_bytes

    shape = Shape.of(artifact)
    plan = json.loads((artifact / "plans" / "cuda" / "prefill.json").read_text())
    products, layers = product_operations(plan), len(shape.selecting)
    milliseconds = {}
    for row in rows:
        depth, tokens = row["n_depth"], row["n_prompt"]
        rate = Spread(row["median_ts"], row["min_ts"], row["max_ts"])
        operations = products + layers * causal_operations(shape.heads, shape.head_dim, shape.head_dim, depth, tokens)
        read = weight_bytes(plan) + shape.cache_bytes(depth + tokens, 0)
        milliseconds[depth] = 1000 * tokens / rate.median
        per_second = operations / milliseconds[depth] * 1000
        table.rows.append(
            (
                f"{tokens:,} after {depth:,}",
                rate.text(0),
                f"{milliseconds[depth]:.1f}",
                f"{operations / 1e12:.1f}",
                f"{per_second / 1e12:.0f}",
                f"{per_second / limit:.0%}",
                f"{read / 1e9:.1f}",
            )
        )
        facts = {"depth": depth, "operations": operations, "bytes": read, "tokens": vars(rate), "limit": limit}
        table.data.append(facts | {"bench": row})
    near, far = min(milliseconds), max(milliseconds)
    more = layers * 2 * shape.heads * 2 * shape.head_dim * CHUNK * (far - near)
    difference = milliseconds[far] - milliseconds[near]
    table.notes.append(
        f"The deeper prompt takes {difference:.1f} ms more for {more / 1e12:.1f} TFLOP more of attention: "
        f"{more / difference / 1e9:.0f} TFLOP/s."
    )
    table.data.append({"more_operations": more, "more_ms": difference})


PARTS = {"attention": attention_part, "prompt": prompt_part}

if __name__ == "__main__":
    sys.exit(gpu_parts.main(Path(__file__).resolve(), __doc__, PARTS))
