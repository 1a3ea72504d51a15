"""Times steps of decode attention on a GPU: the kernels of a bundle (test/gpu/make_bundle.py --llama) beside those of peers
(quest_peers.py), and beside a prototype in CUDA C++ when its source is given.

    python3 gpu_attention.py --bundle DIR [--only NAME] [--stages] [--peers [NAME ...]] [--hand FILE.cu] [--json FILE]

Every step has its own query, cache and fields; sets of them are rotated so that what is touched exceeds four times the L2
cache. Steps run in a CUDA graph; the time is that of a replay over its steps. A step starts from finished fields.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import torch

REPLAYS, LEAST_STEPS = 25, 48
PEERS = ("dense", "compile", "triton", "flashinfer")


def import_runner(bundle):
    sys.path.insert(0, str(bundle))
    import attention_case
    import cuda_driver
    import plan_runner

    return attention_case, cuda_driver, plan_runner


SCALES = ("key_scale", "value_scale")


class Set:
    """Random contents of one layer's cache for a case, full, and a query."""

    def __init__(self, case, seed):
        generator = torch.Generator("cuda").manual_seed(seed)
        dtype = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}[case.dtype]
        shape = (case.rows, case.kv_heads, case.max_pages)
        pages = case.rows * case.kv_heads * case.max_pages
        width = case.page * (case.key_dim + case.value_dim)
        if case.storage == "i8":
            self.pool = torch.randint(-127, 128, (pages, width), generator=generator, device="cuda", dtype=torch.int8)
        else:
            self.pool = torch.empty(pages, width, dtype=dtype, device="cuda").normal_(generator=generator)
            self.pool = self.pool.to(torch.float8_e4m3fn) if case.storage else self.pool
        slots = (*shape[:2], case.max_pages * case.page)
        unit = 0.02 if case.storage == "i8" else 1.0
        scales = ((torch.rand(slots, generator=generator, device="cuda") + 0.5) * unit for _ in SCALES)
        self.scales = {name: scale.half() for name, scale in zip(SCALES, scales)} if case.storage else {}
        self.table = torch.randperm(pages, generator=generator, device="cuda", dtype=torch.int32).view(shape)
        length = case.max_pages * case.page
        self.count = torch.full(shape[:2], length, dtype=torch.int32, device="cuda")
        self.victim = torch.full(shape[:2], -1, dtype=torch.int32, device="cuda")
        self.positions = torch.full((case.rows,), length - 1, dtype=torch.int32, device="cuda")
        self.sequences = torch.arange(case.rows, dtype=torch.int32, device="cuda")
        self.query = torch.randn(case.rows, case.heads * case.key_dim, generator=generator, device="cuda")
        self.key_bytes = case.page * case.key_dim * self.pool.element_size()
        if case.selection:
            self.page_max = torch.empty(*shape, case.key_dim, dtype=dtype, device="cuda")
            self.page_min = torch.empty_like(self.page_max)
            for s in range(case.rows):
                keys = torch.stack([self.keys(case, s, head) for head in range(case.kv_heads)])
                keys = keys.view(case.kv_heads, case.max_pages, case.page, case.key_dim)
                self.page_max[s], self.page_min[s] = keys.amax(2), keys.amin(2)
            if case.fields_by_channel:
                self.page_max, self.page_min = (f.transpose(2, 3).contiguous() for f in (self.page_max, self.page_min))

    def numbers(self, case, sequence, head, pool, pages):
        """What readers see of pages in use: f32 [slots, channels]."""
        data = self.pool[self.table[sequence, head][pages].long()].float()
        split = case.page * case.key_dim
        rows = data[:, :split] if pool == "key" else data[:, split:]
        rows = rows.reshape(len(pages) * case.page, -1)
        if not self.scales:
            return rows
        scale = self.scales[f"{pool}_scale"][sequence, head].view(case.max_pages, case.page)[pages]
        return rows * scale.float().view(-1, 1)

    def keys(self, case, sequence, head):
        return self.numbers(case, sequence, head, "key", torch.arange(case.max_pages, device="cuda"))

    def pointers(self, case):
        state = {name: getattr(self, name).data_ptr() for name in ("table", "count", "victim")}
        state |= {name: scale.data_ptr() for name, scale in self.scales.items()}
        state["key"] = self.pool.data_ptr()
        state["value"] = state["key"] + self.key_bytes
        if case.selection:
            state |= {"page_max": self.page_max.data_ptr(), "page_min": self.page_min.data_ptr()}
        inputs = {name: getattr(self, name).data_ptr() for name in ("query", "positions", "sequences")}
        return inputs, state

    def error(self, case, out, scores):
        """Relative error of the output of row 0, KV head 0, against f32."""
        groups = case.heads // case.kv_heads
        query = self.query[0].view(case.heads, case.key_dim)[:groups]
        pages = torch.arange(case.max_pages, device="cuda")
        if case.selection:
            own = scores[0, 0].clone()
            own[-1] = float("inf")
            pages = own.topk(case.budget).indices
        keys, values = (self.numbers(case, 0, 0, pool, pages) for pool in ("key", "value"))
        want = torch.softmax(case.scale * query.double() @ keys.double().T, -1) @ values.double()
        got = out[0].view(case.heads, case.value_dim)[:groups]
        return float((got - want).norm() / want.norm())


def bytes_of_step(case):
    element = {"bf16": 2, "f16": 2, "f32": 4}[case.dtype]
    lists = case.rows * case.kv_heads
    page = case.page * (case.key_dim + case.value_dim) * element
    if case.storage:
        page = case.page * (case.key_dim + case.value_dim + 2 * len(SCALES))
    if not case.selection:
        return lists * case.max_pages * page
    return lists * (case.max_pages * 2 * case.key_dim * element + case.budget * page)


def times(device, run_all, steps):
    """Microseconds of a step: median, least, greatest."""
    graph = device.capture(run_all)
    for _ in range(3):
        device.launch_graph(graph)
    device.synchronize()
    replays = [device.time(lambda: device.launch_graph(graph)) * 1000 / steps for _ in range(REPLAYS)]
    return statistics.median(replays), min(replays), max(replays)


def make_sets(case):
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return [Set(case, seed) for seed in range(max(2, -(-4 * l2 // bytes_of_step(case))))]


def measure(device, module, runner, bundle, case, sets, with_stages):
    touched, count = bytes_of_step(case), len(sets)
    plan = runner.Plan(device, module, bundle / "plans" / f"{case.name}.json")
    out = {name: torch.zeros(size // 4, device="cuda") for name, size in plan.output_bytes().items()}
    torch.cuda.synchronize()
    bound = []
    for one in sets:
        inputs, state = one.pointers(case)
        bound.append(plan.bind(inputs, {name: tensor.data_ptr() for name, tensor in out.items()}, state))
    for launch in bound[0]:
        launch(device.stream)
    device.synchronize()
    scores = out["scores"].view(case.rows, -1, case.max_pages) if case.selection else None
    error = sets[0].error(case, out["out"].view(case.rows, -1), scores)
    repeat = max(1, -(-LEAST_STEPS // count))
    rows = {}

    def run(launches):
        def run_all():
            for _ in range(repeat):
                for step in bound:
                    for launch in step[:launches]:
                        launch(device.stream)

        return run_all

    stages = range(1, len(bound[0])) if with_stages else ()
    for launches in (*stages, len(bound[0])):
        rows[launches] = times(device, run(launches), repeat * count)
    plan.free()
    return {"case": case.name, "bytes": touched, "sets": count, "error": error, "stages": rows, "us": rows[len(bound[0])]}


def peer_rows(case, sets, ours, names):
    """A row of every peer with one of the names, also printed; the files beside this one are needed for them alone."""
    rows = {}
    if names:
        import quest_peers
        from peer_choices import attempt, line

        for name, measure in quest_peers.measures(case, sets, names, LEAST_STEPS).items():
            rows[name] = attempt(measure, ours)
            print(line(name, rows[name]), flush=True)
            torch.cuda.empty_cache()
    return rows


def read_rate():
    """Bytes a second that a sum over 4 GB reads."""
    data = torch.ones(1 << 31, device="cuda", dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(5):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        data.view(torch.int32).max()
        stop.record()
        stop.synchronize()
        best = min(best, start.elapsed_time(stop))
    return data.nbytes / best * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--stages", action="store_true", help="also the first launches of a step alone")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help=f"also these peers (default: {' '.join(PEERS)})")
    parser.add_argument("--hand", help="source of a prototype to compile with nvcc and run; its own output is printed")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    peers = (args.peers or PEERS) if args.peers is not None else ()
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    attention_case, cuda_driver, runner = import_runner(args.bundle)
    torch.cuda.init()
    device = cuda_driver.Device()
    module = cuda_driver.Module((args.bundle / "kernels.cubin").read_bytes())
    rate = read_rate()
    print(f"{device.name}, reads {rate / 1e12:.2f} TB/s")
    results = []
    for case in map(attention_case.Case.from_json, json.loads((args.bundle / "cases.json").read_text())):
        if args.only not in case.name or case.full or case.prefill:
            continue
        sets = make_sets(case)
        row = measure(device, module, runner, args.bundle, case, sets, args.stages)
        median, least, greatest = row["us"]
        line = f"{case.name:16} {median:8.2f} us ({least:.2f}-{greatest:.2f})  {row['bytes'] / median / 1e6:5.2f} TB/s"
        line += f" = {row['bytes'] / median * 1e6 / rate:4.0%} of reads  error {row['error']:.1e}"
        line += "".join(f"  first {n}: {t[0]:.2f}" for n, t in list(row["stages"].items())[:-1])
        print(line, flush=True)
        results.append(row)
        row["peers"] = peer_rows(case, sets, row["us"], peers)
        del sets
        torch.cuda.empty_cache()
        if args.json:  # what is measured stays measured when a later case ends the program
            args.json.write_text(json.dumps({"device": device.name, "read_rate": rate, "rows": results}, indent=1))
    if args.hand:
        subprocess.run(["nvcc", "-O3", "-std=c++17", "-arch=sm_90a", args.hand, "-o", "/tmp/hand"], check=True)
        subprocess.run(["/tmp/hand"], check=True)


if __name__ == "__main__":
    main()
