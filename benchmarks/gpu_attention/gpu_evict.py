#!/usr/bin/env python3
"""What a decode step costs when H2O, CaM over it, or D2O keeps a fifth of the context, beside dense attention over all of it,
on one GPU.

    gpu_evict.py --bundle DIR [--json FILE]

DIR is a bundle of make_bundle.py --llama, with this folder's scripts. The step starts from the projections: rotation, append into
the victim's slot, attention, mass, statistics, the next victim and its merging. The dense time is that of attention alone, without rotation
and append. Caches rotate over more than four times the L2 cache; CUDA graphs; medians of 25 replays in turns.

A cache starts as a compaction after a prompt leaves it: the recent tokens, and of the others those of most mass, which grows with a
token's age and differs between tokens as exp(N(0, 1)). Every step is of the next position. D2O looks for the nearest key in two
ways: by reading all keys again, or ("probed") for the likeliest victims while attention reads them, again only for others; how many
victims were among those is counted.
"""

import argparse
import json
import pathlib
import statistics
import sys

import torch

EVICTING, DENSE = tuple(f"full_{method}_32k_b8" for method in ("h2o", "cam", "d2o", "d2o_probed")), "dense_32k_b8"
REPLAYS, LEAST_STEPS, WARM, COUNTED = 25, 24, 3, 16


INPUTS = ("query", "sequences", "new_key", "new_value", "active", "status")
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
STATE = ("table", "count", "victim", "position", "tail", "mass", "threshold", "merged", "likely")


class EvictingSet:
    """A layer in the steady state: every head has its cap and the hole of the last victim."""

    def __init__(self, case, seed: int) -> None:
        generator = torch.Generator("cuda").manual_seed(seed)
        like = {"generator": generator, "device": "cuda"}
        extent, heads = case.evict + 1, (case.rows, case.kv_heads)
        used = -(-extent // case.page)
        pages = case.rows * case.kv_heads * used
        self.pool = torch.randn(pages, case.page * (case.key_dim + case.value_dim), **like).to(DTYPES[case.dtype])
        self.table = torch.full((*heads, case.max_pages), -1, dtype=torch.int32, device="cuda")
        self.table[:, :, :used] = torch.randperm(pages, **like).int().view(*heads, used)
        self.count = torch.full(heads, extent, dtype=torch.int32, device="cuda")
        slots = case.max_pages * case.page
        self.first = self.now = slots - case.page - (REPLAYS + WARM) * LEAST_STEPS - COUNTED - 2
        self.position = torch.full((*heads, slots), -1, dtype=torch.int32, device="cuda")
        self.mass = torch.zeros((*heads, slots), device="cuda")
        self.victim = torch.randint(extent, heads, **like).int()
        of_token = torch.randn(*heads, self.now, **like).exp() * (self.now - torch.arange(self.now, device="cuda")) / slots
        heavy = extent // 2
        rank = of_token.clone()
        rank[..., heavy - extent :] = torch.inf  # recent
        kept = rank.topk(extent).indices
        kept = torch.gather(kept, 2, torch.rand(*heads, extent, **like).argsort(-1))
        self.position[..., :extent] = kept.int()
        self.mass[..., :extent] = torch.gather(of_token, 2, kept)
        for row in range(case.rows):
            for head in range(case.kv_heads):
                self.position[row, head, self.victim[row, head]] = -1
        self.threshold = torch.full(heads, -torch.inf, device="cuda")
        self.merged = torch.zeros(heads, dtype=torch.int32, device="cuda")
        self.tail = self.position.argmax(-1).int()
        self.query = torch.randn(case.rows, case.heads * case.key_dim, **like)
        self.new_key = torch.randn(case.rows, case.kv_heads * case.key_dim, **like)
        self.new_value = torch.randn(case.rows, case.kv_heads * case.value_dim, **like)
        self.likely = torch.full((*heads, max(case.likely, 1)), -1, dtype=torch.int32, device="cuda")
        self.sequences = torch.arange(case.rows, dtype=torch.int32, device="cuda")
        self.active = torch.ones(case.rows, dtype=torch.int32, device="cuda")
        self.status = torch.zeros(1, dtype=torch.int32, device="cuda")
        self.key_bytes = case.page * case.key_dim * 2

    def bind(self, plan, positions: torch.Tensor, out: dict, weights: dict) -> list:
        inputs = {name: getattr(self, name).data_ptr() for name in INPUTS} | {"positions": positions.data_ptr()}
        state = {name: getattr(self, name).data_ptr() for name in STATE}
        state |= {"key": self.pool.data_ptr(), "value": self.pool.data_ptr() + self.key_bytes}
        return plan.bind(inputs, out, state, weights)

    def check(self, case, newest: int) -> None:
        """Raises unless every head has appended its token, the newest, and chosen another victim."""
        held = (self.position[..., : case.evict + 1] == newest).sum(-1)
        holes = (self.position[..., : case.evict + 1] < 0).sum(-1)
        if int(self.status) or not bool((held == 1).all() and (holes == 1).all() and (self.count == case.evict + 1).all()):
            raise RuntimeError(f"the step did not go on: status {int(self.status)}, {held.tolist()}, {holes.tolist()}")


class Clock:
    """The positions of the steps of a graph, one after the other, which move on with each replay."""

    def __init__(self, case, first: int, steps: int) -> None:
        ahead = torch.arange(first, first + steps, dtype=torch.int32, device="cuda")
        self.steps, self.all = steps, ahead[:, None].expand(steps, case.rows).contiguous()

    def __getitem__(self, step: int) -> torch.Tensor:
        return self.all[step]

    def replayed(self) -> None:
        self.all += self.steps
        torch.cuda.synchronize()

    def newest(self) -> int:
        return int(self.all.max()) - self.steps


def count_probed(case, cache, launches: list, stream, clock: Clock) -> float:
    """The part of the heads of some more steps whose victim was named before as a likely one."""
    found = []
    for _ in range(COUNTED):
        named = cache.likely.clone()
        torch.cuda.synchronize()
        for launch in launches:
            launch(stream)
        torch.cuda.synchronize()
        clock.all += 1
        torch.cuda.synchronize()
        found.append(float((named == cache.victim[..., None]).any(-1).float().mean()))
    return statistics.mean(found)


def rotations(case) -> dict:
    """Tables of the cosines and sines of every position."""
    half = case.key_dim // 2
    positions = torch.arange(case.max_pages * case.page, device="cuda")[:, None]
    angle = positions * 5e5 ** -(torch.arange(half, device="cuda") / half)
    return {"cos": angle.cos().float().contiguous(), "sin": angle.sin().float().contiguous()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    sys.path.insert(0, str(args.bundle.resolve()))
    import attention_case
    import cuda_driver
    import gpu_attention
    import plan_runner

    torch.cuda.init()
    device = cuda_driver.Device()
    module = cuda_driver.Module((args.bundle / "kernels.cubin").read_bytes())
    cases = {c["name"]: attention_case.Case.from_json(c) for c in json.loads((args.bundle / "cases.json").read_text())}
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    case = cases[EVICTING[0]]
    tables = rotations(case)
    graphs, steps, kept, clocks = {}, {}, [], {}
    for name in (*EVICTING, DENSE):
        one, make = cases[name], EvictingSet if name in EVICTING else gpu_attention.Set
        plan = plan_runner.Plan(device, module, args.bundle / "plans" / f"{name}.json")
        slots = one.evict or one.max_pages * one.page
        bytes_of_set = one.rows * one.kv_heads * slots * (one.key_dim + one.value_dim) * 2
        sets = [make(one, seed) for seed in range(max(2, -(-4 * l2 // bytes_of_set)))]
        out = {n: torch.zeros(size // 4, device="cuda") for n, size in plan.output_bytes().items()}
        places = {n: tensor.data_ptr() for n, tensor in out.items()}
        torch.cuda.synchronize()
        repeat = -(-LEAST_STEPS // len(sets))
        bound = []
        if name in EVICTING:
            clocks[name] = Clock(one, sets[0].first, repeat)
            weights = {n: tables[n.rsplit("_", 1)[1]].data_ptr() for n in plan.weights()}
            bound = [cache.bind(plan, clocks[name][i], places, weights) for i in range(repeat) for cache in sets]
            print(f"{name}: {len(bound[0])} launches a step, {one.evict} of {one.max_pages * one.page} slots")
        else:
            pointers = [cache.pointers(one) for cache in sets]
            bound = [plan.bind(inputs, places, state) for _ in range(repeat) for inputs, state in pointers]

        def run(bound=bound):
            for step in bound:
                for launch in step:
                    launch(device.stream)

        torch.cuda.synchronize()
        graphs[name], steps[name] = device.capture(run), len(bound)
        kept.append((plan, sets, out, bound[0]))
    taken = {name: [] for name in graphs}
    for replay in range(REPLAYS + WARM):
        for name, graph in graphs.items():
            device.synchronize()
            us = device.time(lambda graph=graph: device.launch_graph(graph)) * 1000 / steps[name]
            if name in clocks:
                clocks[name].replayed()
            if replay >= WARM:
                taken[name].append(us)
    probed = {}
    for name, (_, sets, _, step) in zip(EVICTING, kept):
        sets[0].check(cases[name], clocks[name].newest())
        if cases[name].method != "h2o":
            print(f"{name}: {int(sets[0].merged.sum())} slots were merged")
        if cases[name].likely:
            probed[name] = count_probed(cases[name], sets[0], step, device.stream, clocks[name])
            print(f"{name}: {100 * probed[name]:.1f} % of the victims of {COUNTED} more steps were likely ones")
    rows = {name: (statistics.median(t), min(t), max(t)) for name, t in taken.items()}
    print(torch.cuda.get_device_name())
    for name, (median, least, greatest) in rows.items():
        print(f"{name:<18} {median:8.2f} us ({least:.2f}-{greatest:.2f})")
    for name in EVICTING:
        print(f"dense attention / {name}: {rows[DENSE][0] / rows[name][0]:.2f}")
    if args.json:
        args.json.write_text(json.dumps({"device": torch.cuda.get_device_name(), "us": rows, "replays": taken, "probed": probed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
