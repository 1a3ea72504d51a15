"""Runs every case of a bundle on the GPU with random caches and compares with double precision.

    python3 run_attention.py [--states N] [--only NAME | --cases NAME,...] [--lines]

Needs NumPy and the CUDA driver. With --lines every case is announced and answered by one line of JSON, for run_suite.py.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

import attention_reference as reference
from attention_case import DENSE_TWIN, Case
from cuda_driver import Device, Module
from plan_runner import Plan

HERE = pathlib.Path(__file__).resolve().parent
# Of a score, over the sum of its terms' magnitudes: queries in two bf16 parts keep 18 bits, and sums round in f32.
PROMPT_ERROR = {"bf16": 2e-2, "f16": 3e-3}
SCORE_ERROR = 2.0**-18 + 2e-6


class Failure(Exception):
    pass


def require(condition, text):
    if not condition:
        raise Failure(text)


class Step:
    """One case's plan with a cache on the device."""

    def __init__(self, device, module, folder, case):
        self.device, self.case = device, case
        self.plan = Plan(device, module, folder / "plans" / f"{case.name}.json")

    def run(self, cache, query, sequences, positions, active, repeat=2):
        """Outputs as NumPy arrays; the same bits every time."""
        c, device = self.case, self.device
        held = {"pool": device.upload(cache.pool)}
        state = {"key": held["pool"], "value": held["pool"] + cache.key_bytes}
        for name, array in cache.components().items():
            held[name] = state[name] = device.upload(np.ascontiguousarray(array))
        inputs = {
            "query": device.upload(query),
            "positions": device.upload(positions),
            "sequences": device.upload(sequences),
            "active": device.upload(active),
        }
        outputs = {name: device.allocate(size) for name, size in self.plan.output_bytes().items()}
        launches = self.plan.bind(inputs, outputs, state)
        kinds = {"indices": np.int32, "count": np.int32}
        seen = None
        for _ in range(repeat):
            self.plan.poison()
            for name, size in self.plan.output_bytes().items():
                device.fill(outputs[name], 0xFF, size)
            for launch in launches:
                launch(device.stream)
            device.synchronize()
            got = {
                name: device.download(np.empty(size // 4, kinds.get(name, np.float32)), outputs[name])
                for name, size in self.plan.output_bytes().items()
            }
            for name in got:
                # Past its count a list may hold anything.
                if seen is not None and name != "indices":
                    require(np.array_equal(seen[name].view(np.int32), got[name].view(np.int32)), f"two runs differ in {name}")
            seen = got
        for pointer in (*held.values(), *inputs.values(), *outputs.values()):
            device.free(pointer)
        shapes = {
            "out": (c.rows, c.heads * c.value_dim),
            "lse": (c.rows, c.heads),
            "scores": (c.rows, c.selecting, c.max_pages),
            "indices": (c.rows, c.selecting, -1),
            "count": (c.rows, c.selecting),
            "mass": (c.batch, c.kv_heads, -1),
        }
        return {name: array.reshape(shapes[name]) for name, array in got.items()}


def check(case, cache, query, sequences, positions, active, got, tolerance, share):
    rng = np.random.default_rng(1)
    worst = 0.0
    # Queries and weights of a prompt are rounded to the cache's type.
    lse_tolerance = 1e-4 + 10 * tolerance
    mass = np.zeros((case.batch, case.kv_heads, case.max_pages * case.page))
    known = np.ones(case.batch, bool)
    if case.storage:
        tolerance *= 5  # weights times scales are products of f16, and small
    if case.prefill:
        tolerance, lse_tolerance = PROMPT_ERROR[case.dtype], PROMPT_ERROR[case.dtype]
    for row in range(case.rows):
        sequence = sequences[row]
        for h in range(case.selecting):
            pages = None
            if case.selection:
                want, size = reference.scores(case, cache, query, row, sequence, h)
                own = got["scores"][row, h]
                finite = np.isfinite(want)
                error = (np.abs(own[: len(want)] - want) / size)[finite].max(initial=0)
                require(error < SCORE_ERROR, f"row {row} head {h}: scores are off by {error:.2e}")
                same = np.array_equal(own[: len(want)][~finite], want[~finite].astype(np.float32), equal_nan=True)
                require(same, f"row {row} head {h}: scores of pages without keys differ")
                require(np.all(np.isneginf(own[len(want) :])), f"row {row} head {h}: unused pages have a score")
                pages = reference.select(case, cache, own, sequence, h)
                if case.shows_list:
                    count = got["count"][row, h]
                    require(count == len(pages), f"row {row} head {h}: {count} pages for {len(pages)}")
                    chosen = got["indices"][row, h, :count]
                    require(np.array_equal(chosen, pages), f"row {row} head {h}: pages {chosen} for {pages}")
            batch = 0 if case.prefill else row
            if rng.random() > share:
                known[batch] = False
                continue
            want = reference.attend(case, cache, query, row, sequence, h, pages, int(positions[row]))
            if want is None:
                continue
            if active[row]:
                mass[batch, h * case.kv_heads // case.selecting] += want[2]
            out = got["out"][row].reshape(case.heads, case.value_dim)[h * case.groups : (h + 1) * case.groups]
            lse = got["lse"][row][h * case.groups : (h + 1) * case.groups]
            error = np.linalg.norm(out - want[0]) / np.linalg.norm(want[0])
            require(error < tolerance, f"row {row} head {h}: attention is off by {error:.2e}")
            require(np.abs(lse - want[1]).max() < lse_tolerance, f"row {row} head {h}: lse {lse} for {want[1]}")
            worst = max(worst, error)
    if case.mass:
        for batch in np.flatnonzero(known):
            error = np.abs(got["mass"][batch] - mass[batch]).sum() / max(mass[batch].sum(), 1)
            require(error < (tolerance if case.prefill else 1e-4), f"mass of sequence {batch} is off by {error:.2e}")
    return worst


def run_case(device, module, case, args, outputs):
    """Runs a case with every cache; what failed, and the worst error. `outputs` keeps what twins are compared with."""
    step = Step(device, module, args.bundle, case)
    failures, worst = [], 0.0
    for index in range(args.states):
        rng = np.random.default_rng(index)
        extra = int(rng.integers(0, 3))
        cache = reference.Cache(case, rng, case.rows + extra, "full" if index == 1 else "random", ties=index % 3 == 2)
        sequences = rng.permutation(case.rows + extra)[: case.rows].astype(np.int32)
        positions, active = cache.positions[sequences], np.ones(case.rows, np.int32)
        if case.prefill:
            sequences[:] = sequences[0]
            positions = np.maximum(cache.positions[sequences] - case.rows + 1 + np.arange(case.rows, dtype=np.int32), 0)
        if case.mass and index:
            active[case.rows - int(rng.integers(0, case.rows)) :] = 0
        query = rng.standard_normal((case.rows, case.heads * case.key_dim), dtype=np.float32)
        try:
            got = step.run(cache, query, sequences, positions, active)
            outputs[case.name, index] = {name: got[name] for name in ("out", "lse")}
            twin = outputs.get((case.name.removesuffix(DENSE_TWIN), index))
            for name in ("out", "lse"):
                same = np.array_equal(twin[name].view(np.int32), got[name].view(np.int32)) if twin else True
                require(same, f"{name} has other bits than with a selection of every page")
            worst = max(worst, check(case, cache, query, sequences, positions, active, got, args.tolerance, args.share))
        except Failure as failure:
            failures.append(f"state {index}: {failure}")
    step.plan.free()
    return failures, worst


def chosen_cases(args):
    cases = [Case.from_json(c) for c in json.loads((args.bundle / "cases.json").read_text())]
    cases = [case for case in cases if not case.full]  # those are for benchmarks
    if args.cases:
        return [case for case in cases if case.name in args.cases.split(",")]
    return [case for case in cases if args.only in case.name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path, default=HERE)
    parser.add_argument("--states", type=int, default=5, help="random caches for each shape")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--cases", default="", metavar="NAME,...", help="these cases")
    parser.add_argument("--lines", action="store_true", help="a line of JSON when a case starts and when it ends")
    parser.add_argument("--tolerance", type=float, default=2e-5)
    parser.add_argument("--share", type=float, default=1.0, help="part of the heads whose attention is compared")
    args = parser.parse_args()
    device = Device()
    module = Module((args.bundle / "kernels.cubin").read_bytes())
    failed = shown = 0
    outputs = {}  # of selecting cases, by name and state
    worst = 0.0
    start = time.time()
    cases = chosen_cases(args)
    for case in cases:
        if args.lines:
            print(json.dumps({"start": case.name}), flush=True)
        began = time.time()
        failures, error = run_case(device, module, case, args, outputs)
        worst, failed = max(worst, error), failed + len(failures)
        if args.lines:
            answer = {"case": case.name, "failures": failures, "worst": error, "seconds": time.time() - began}
            print(json.dumps(answer), flush=True)
            continue
        for failure in failures:
            shown += 1
            if shown <= 10:
                print(f"FAIL {case} {failure}")
    if not args.lines:
        done = len(cases) * args.states
        print(f"{device.name}: {done} cases, {failed} failed, worst error {worst:.2e}, {time.time() - start:.1f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
