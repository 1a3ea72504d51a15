#!/usr/bin/env python3
"""What a decode step costs on one GPU, and the parts that it is made of.

    gpu_decode_step.py --bundle DIR [--only PART]... [--json FILE] [--markdown FILE]

DIR is a folder of benchmarks/gpu_common/make_gpu_bundle.py; in it lies a copy of this file, which needs no --bundle.
Needs PyTorch, NumPy and the CUDA driver. Parts:

    linear  one row times matrices of Llama-3.1-8B, beside cuBLAS
    step    the Quest step from the projections (rotation, append, page fields, score, selection, attention), beside the
            step from finished page fields
    token   whole tokens of the shape of Llama-3.1-8B, dense and Quest, at 32K and 128K

Exit code 1 if anything failed; the rest is measured all the same.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE)] + [str(ROOT / part) for part in ("benchmarks/gpu_common", "benchmarks/gpu_attention", "test/gpu")]

import gpu_parts  # noqa: E402
from gpu_cases import FULL, LINEARS, Linear  # noqa: E402
from gpu_parts import Spread, Table, repeats, rotation  # noqa: E402

LEAST_STEPS = 48  # of a graph
DEPTHS = (32768, 131072)
GENERATED = 16
LARGEST_ERROR = 1e-2  # relative; what is checked is that the right thing was computed
MICROSECONDS = 1000.0  # of a millisecond


# --- One row times a matrix ------------------------------------------------------------------------------------------


def linear_part(bundle: Path) -> Table:
    import cuda_driver
    import gpu_timing
    import torch

    torch.cuda.init()
    device = cuda_driver.Device()
    module = cuda_driver.Module((bundle / "kernels.cubin").read_bytes())
    limits = gpu_timing.memory_limits()
    torch.cuda.empty_cache()
    columns = ("layer", "us", "TB/s", "of the limit", "cuBLAS us", "ours / cuBLAS", "error")
    table = Table("One row times a matrix, bf16 weights", columns)
    table.notes = [
        f"Weights rotate: {', '.join(f'{sets(one, gpu_timing.l2_bytes())} of {one.bytes / 1e6:.0f} MB' for one in LINEARS)}.",
        "Ours takes and gives f32, cuBLAS (torch.nn.functional.linear) bf16. No norm before, no sum after.",
        f"Replays of the two take turns, {gpu_timing.ROUNDS} each of at least {LEAST_STEPS} products; median (min–max).",
        gpu_timing.memory_note(limits),
    ]
    for linear in LINEARS:
        table.attempt(linear.name, lambda linear=linear: measure_linear(table, device, module, bundle, linear, limits["read"]))
        torch.cuda.empty_cache()
    return table


def sets(linear: Linear, l2: int) -> int:
    return rotation(linear.bytes, l2)


def measure_linear(table: Table, device, module, bundle: Path, linear: Linear, limit: float) -> None:
    import gpu_timing
    import plan_runner
    import torch

    plan = plan_runner.Plan(device, module, bundle / "plans" / f"{linear.name}.json")
    ((weight_name, _),) = plan.weights().items()
    count = sets(linear, gpu_timing.l2_bytes())
    generator = torch.Generator("cuda").manual_seed(0)
    scale = linear.inputs**-0.5
    weights = [
        torch.empty(linear.outputs, linear.inputs, device="cuda", dtype=torch.bfloat16).normal_(0, scale, generator=generator)
        for _ in range(count)
    ]
    x = torch.randn(1, linear.inputs, device="cuda", generator=generator)
    half = x.bfloat16()
    y = torch.zeros(1, linear.outputs, device="cuda")
    torch.cuda.synchronize()
    again = repeats(count, LEAST_STEPS)
    bound = [
        launch
        for weight in weights
        for launch in plan.bind({"x": x.data_ptr()}, {"y": y.data_ptr()}, {}, {weight_name: weight.data_ptr()})
    ]

    def peer() -> None:
        for weight in weights * again:
            torch.nn.functional.linear(half, weight)

    for launch in bound[: len(bound) // count]:
        launch(device.stream)
    device.synchronize()
    error = relative_error(y, x @ weights[0].float().T)
    replays = {"ours": gpu_timing.plan_replay(device, bound * again), "cublas": gpu_timing.torch_replay(peer)}
    taken = gpu_timing.in_turns(replays)
    ours, cublas = (Spread.of(taken[name]).times(MICROSECONDS / (count * again)) for name in ("ours", "cublas"))
    rate = linear.bytes / ours.median * 1e6
    table.rows.append(
        (
            f"{linear.inputs} to {linear.outputs}",
            ours.text(1),
            f"{rate / 1e12:.2f}",
            f"{rate / limit:.0%}",
            cublas.text(1),
            f"{ours.median / cublas.median:.2f}",
            f"{error:.0e}",
        )
    )
    table.data.append(
        {"name": linear.name, "bytes": linear.bytes, "sets": count, "error": error, "limit": limit}
        | {"us": vars(ours), "cublas_us": vars(cublas), "replays_ms": taken}
    )
    plan.free()
    require_small(error)


def relative_error(got, want) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def require_small(error: float) -> None:
    if not error < LARGEST_ERROR:
        raise RuntimeError(f"what was computed is off by {error:.1e}: the time means nothing")


# --- The Quest step --------------------------------------------------------------------------------------------------


class FullStep:
    """The step from the projections over sets of caches (gpu_attention.Set); every replay appends the same tokens."""

    def __init__(self, case, caches: list, again: int) -> None:
        import torch

        self.case, self.caches, self.again = case, caches, again
        length, half = case.max_pages * case.page, case.key_dim // 2
        angle = torch.arange(length, device="cuda")[:, None] * 5e5 ** -(torch.arange(half, device="cuda") / half)
        self.cos, self.sin = angle.cos().float(), angle.sin().float()
        generator = torch.Generator("cuda").manual_seed(1)
        shape = (case.rows, case.kv_heads, case.key_dim)
        self.new_key, self.new_value = (torch.randn(shape, device="cuda", generator=generator) for _ in "kv")
        self.active = torch.ones(case.rows, dtype=torch.int32, device="cuda")
        self.status = torch.zeros(1, dtype=torch.int32, device="cuda")
        # The n-th rotation appends at the n-th of these positions; the last fills the cache.
        self.first = length - again
        self.positions = [
            torch.full((case.rows,), self.first + n, dtype=torch.int32, device="cuda") for n in range(again)
        ]

    def shorten(self) -> None:
        for cache in self.caches:
            cache.count.fill_(self.first)

    def lengthen(self) -> None:
        for cache in self.caches:
            cache.count.fill_(self.first + self.again)

    def launches(self, plan, out: dict) -> list:
        weights = {name: getattr(self, name.rsplit("_", 1)[1]).data_ptr() for name in plan.weights()}
        mine = {name: getattr(self, name).data_ptr() for name in ("new_key", "new_value", "active", "status")}
        result = []
        for positions in self.positions:
            for cache in self.caches:
                inputs, state = cache.pointers(self.case)
                result += plan.bind(inputs | mine | {"positions": positions.data_ptr()}, out, state, weights)
        return result

    def rotated(self, x):
        """Rows of heads at the first position."""
        import torch

        half = self.case.key_dim // 2
        cos, sin, a, b = self.cos[self.first], self.sin[self.first], x[..., :half], x[..., half:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def check(self, out: dict) -> float:
        """Raises unless the first step over the first cache appended a token; the error of its attention."""
        case, cache = self.case, self.caches[0]
        if int(self.status) or not bool((cache.count == self.first + 1).all()):
            counts = cache.count.flatten()[:8].tolist()
            raise RuntimeError(f"the step did not append a token: status {int(self.status)}, counts {counts}")
        page, slot = divmod(self.first, case.page)
        held = cache.pool[cache.table[0, :, page].long()][:, : case.page * case.key_dim].view(case.kv_heads, case.page, -1)
        wrong = relative_error(held[:, slot].float(), self.rotated(self.new_key[0]))
        if wrong > LARGEST_ERROR:
            raise RuntimeError(f"the appended key is off by {wrong:.1e}")
        return self.error(out, page, slot)

    def error(self, out: dict, page: int, slot: int) -> float:
        """Relative error of the output of row 0, KV head 0, against double precision."""
        import torch

        case, cache = self.case, self.caches[0]
        groups = case.heads // case.kv_heads
        query = self.rotated(cache.query[0].view(case.heads, case.key_dim)[:groups]).double()
        own = out["scores"].view(case.rows, -1, case.max_pages)[0, 0].clone()
        own[page] = float("inf")
        own[page + 1 :] = -float("inf")
        pages = own.topk(case.budget).indices
        data = cache.pool[cache.table[0, 0][pages].long()].double()
        keys = data[:, : case.page * case.key_dim].reshape(-1, case.key_dim)
        values = data[:, case.page * case.key_dim :].reshape(-1, case.value_dim)
        at = (pages[:, None] * case.page + torch.arange(case.page, device="cuda")).reshape(-1)
        logits = (case.scale * query @ keys.T).masked_fill(at[None] > page * case.page + slot, -float("inf"))
        got = out["out"].view(case.rows, case.heads, case.value_dim)[0, :groups]
        return relative_error(got, torch.softmax(logits, -1) @ values)


def step_part(bundle: Path) -> Table:
    import attention_case
    import cuda_driver
    import gpu_timing
    import torch

    torch.cuda.init()
    device = cuda_driver.Device()
    module = cuda_driver.Module((bundle / "kernels.cubin").read_bytes())
    limits = gpu_timing.memory_limits()
    torch.cuda.empty_cache()
    values = json.loads((bundle / "cases.json").read_text())
    cases = {case.name: case for case in map(attention_case.Case.from_json, values)}
    columns = ("heads, context, budget, sequences", "full step us", "step us", "full minus step us")
    columns += ("MB", "full TB/s", "of the limit", "error")
    table = Table("The Quest step, bf16, page 16", columns)
    table.notes = [
        "The full step starts from the projections: rotation of query and key, append, page fields, then as the step, which "
        "starts from finished page fields: score, selection, attention, combination.",
        "Every replay appends to the same caches, whose counts are set back before it; the last of its tokens fills them. "
        "The difference is that of replays in the same round; median (min–max).",
        f"Query, cache and fields rotate over more than four times the L2 cache, {gpu_timing.ROUNDS} replays of at least "
        f"{LEAST_STEPS} steps each. MB: page fields and selected pages.",
        gpu_timing.memory_note(limits),
    ]
    for name, case in cases.items():
        if FULL + name in cases:
            arguments = (table, device, module, bundle, case, cases[FULL + name], limits["read"])
            table.attempt(name, lambda arguments=arguments: measure_step(*arguments))
            torch.cuda.empty_cache()
    return table


def step_name(case) -> str:
    length, budget = case.max_pages * case.page, case.budget * case.page
    return f"{case.heads}/{case.kv_heads}, {length // 1024}K, {budget:,}, {case.rows}"


def measure_step(table: Table, device, module, bundle: Path, case, full, limit: float) -> None:
    import gpu_attention
    import gpu_timing
    import plan_runner
    import torch

    touched = gpu_attention.bytes_of_step(case)
    count = rotation(touched, gpu_timing.l2_bytes())
    again = repeats(count, LEAST_STEPS)
    caches = [gpu_attention.Set(case, seed) for seed in range(count)]
    whole = FullStep(full, caches, again)
    plans = {one.name: plan_runner.Plan(device, module, bundle / "plans" / f"{one.name}.json") for one in (case, full)}
    sizes = plans[case.name].output_bytes()
    out = {name: torch.zeros(size // 4, device="cuda") for name, size in sizes.items()}
    places = {name: tensor.data_ptr() for name, tensor in out.items()}
    finished = []
    for cache in caches:
        inputs, state = cache.pointers(case)
        finished += plans[case.name].bind(inputs, places, state)
    launches = whole.launches(plans[full.name], places)
    whole.shorten()
    torch.cuda.synchronize()
    for launch in launches[: len(launches) // (count * again)]:
        launch(device.stream)
    device.synchronize()
    error = whole.check(out)
    taken = gpu_timing.in_turns(
        {"full": gpu_timing.plan_replay(device, launches), "step": gpu_timing.plan_replay(device, finished * again)},
        {"full": whole.shorten, "step": whole.lengthen},
    )
    factor = MICROSECONDS / (count * again)
    ours, step = (Spread.of(taken[name]).times(factor) for name in ("full", "step"))
    more = Spread.of([a - b for a, b in zip(taken["full"], taken["step"], strict=True)]).times(factor)
    rate = touched / ours.median * 1e6
    table.rows.append(
        (
            step_name(case),
            ours.text(1),
            step.text(1),
            more.text(1),
            f"{touched / 1e6:.1f}",
            f"{rate / 1e12:.2f}",
            f"{rate / limit:.0%}",
            f"{error:.0e}",
        )
    )
    table.data.append(
        {"name": case.name, "bytes": touched, "sets": count, "rotations": again, "error": error, "limit": limit}
        | {"full_us": vars(ours), "step_us": vars(step), "full_minus_step_us": vars(more), "replays_ms": taken}
    )
    for plan in plans.values():
        plan.free()
    require_small(error)


# --- Whole tokens ----------------------------------------------------------------------------------------------------


def token_part(bundle: Path) -> Table:
    import gpu_timing
    import torch
    from shape_bench import DENSE, QUEST

    limits = gpu_timing.memory_limits()
    torch.cuda.empty_cache()
    columns = ("whole token", "tokens/s", "ms", "tokens/s, ids known", "GB", "of the limit", "against dense")
    table = Table("Tokens of the shape of Llama-3.1-8B, bf16, one sequence", columns)
    table.notes = [
        f"`sparse-run bench -p 0 -n {GENERATED} -d {','.join(map(str, DEPTHS))} --fill -r 5 --device cuda --weights random:1`, "
        "tokens/s median (min–max); ids known: steps queue up without waiting for the host.",
        "GB: weights and what is read of the cache; their time at the limit over the time measured.",
        "Quest: budget 4,096, layers 0 and 1 dense.",
        gpu_timing.memory_note(limits),
    ]
    for name in (DENSE, QUEST):
        table.attempt(name, lambda name=name: measure_tokens(table, bundle, name, limits["read"]))
    return table


def measure_tokens(table: Table, bundle: Path, artifact: str, limit: float) -> None:
    from shape_bench import bench

    depths = ",".join(map(str, DEPTHS))
    for row in bench(bundle, artifact, "-p", "0", "-n", str(GENERATED), "-d", depths, "-r", "5"):
        add_token(table, bundle, artifact, row, limit)


def add_token(table: Table, bundle: Path, artifact: str, row: dict, limit: float) -> None:
    """A row of `sparse-run bench`, with what it read."""
    from shape_bench import BUDGET, DENSE, Shape

    shape = Shape.of(bundle / f"{artifact}.spx")
    rate = Spread(row["median_ts"], row["min_ts"], row["max_ts"])
    depth = row["n_depth"]
    read = shape.weights + shape.cache_bytes(depth + (row["n_gen"] + 1) / 2, BUDGET)
    dense = [one["tokens"]["median"] for one in table.data if (one["artifact"], one["depth"]) == (DENSE, depth)]
    against = f"{rate.median / dense[0]:.2f}" if dense and artifact != DENSE else ""
    kind = "dense" if artifact == DENSE else f"Quest {BUDGET:,}"
    known = row.get("queued_median_ts")
    table.rows.append(
        (
            f"{kind}, {depth // 1024}K",
            rate.text(1),
            f"{1000 / rate.median:.2f}",
            f"{known:.1f}" if known else "",
            f"{read / 1e9:.1f}",
            f"{read * rate.median / limit:.0%}",
            against,
        )
    )
    table.data.append({"artifact": artifact, "depth": depth, "bytes": read, "limit": limit, "tokens": vars(rate), "bench": row})


PARTS = {"linear": linear_part, "step": step_part, "token": token_part}

if __name__ == "__main__":
    sys.exit(gpu_parts.main(Path(__file__).resolve(), __doc__, PARTS))
