"""Runs the sampling entry on the GPU and compares every token with the oracle; then says how long it takes.

    python3 run_sampling.py [--cases N]

Needs NumPy and the CUDA driver.
"""

import argparse
import pathlib
import sys

import numpy as np

import sampling
from cuda_driver import Device, Module
from plan_runner import Plan
from sampling_case import SHAPES, STOPS, entry_name

HERE = pathlib.Path(__file__).resolve().parent
TIMED = {
    "greedy": {},
    "temperature": {"temperature": 0.8},
    "top_k": {"temperature": 0.8, "top_k": 50},
    "top_p": {"temperature": 0.8, "top_p": 0.95},
    "top_k and top_p": {"temperature": 0.8, "top_k": 50, "top_p": 0.95},
}


class Entry:
    """The entry of one shape with its buffers on the device."""

    def __init__(self, device, module, rows, vocab):
        self.device, self.rows, self.vocab = device, rows, vocab
        self.plan = Plan(device, module, HERE / "plans" / f"{entry_name(rows, vocab)}.json")
        self.pointers = {b["name"]: device.allocate(b["bytes"]) for b in self.plan.plan["buffers"]}
        self.launches = self.plan.bind(self.pointers, self.pointers, {})

    def launch(self):
        for launch in self.launches:
            launch(self.device.stream)

    def run(self, arrays):
        """The arrays after the entry."""
        for name, array in arrays.items():
            self.device.upload(array, self.pointers[name])
        self.launch()
        self.device.synchronize()
        return {name: self.device.download(np.empty_like(a), self.pointers[name]) for name, a in arrays.items()}

    def free(self):
        for pointer in self.pointers.values():
            self.device.free(pointer)
        self.plan.free()


def arrays_of(cases, active, stops):
    column = {name: [parameters[name] for _, parameters in cases] for name in cases[0][1]}
    rows = len(cases)
    return {
        "logits": np.stack([logits for logits, _ in cases]),
        "ids": np.arange(rows, dtype=np.int32),
        "positions": np.arange(100, 100 + rows, dtype=np.int32),
        "active": active,
        "temperature": np.array(column["temperature"], np.float32),
        "top_k": np.array(column["top_k"], np.int32),
        "top_p": np.array(column["top_p"], np.float32),
        "seeds": np.array(column["seed"], np.uint64),
        "counters": np.array(column["counter"], np.uint64),
        "stops": stops,
        "tokens": np.full(rows, -7, np.int32),
    }


def check(entry, rng):
    """One run of random rows; the number of rows that differ from the oracle."""
    cases = [sampling.random_case(rng, entry.vocab) for _ in range(entry.rows)]
    expected = [sampling.sample(logits, **parameters) for logits, parameters in cases]
    active = (rng.random(entry.rows) < 0.9).astype(np.int32)
    stops = np.full((entry.rows, STOPS), -1, np.int32)
    for row, token in enumerate(expected):
        if rng.random() < 0.3:
            stops[row, rng.integers(0, STOPS)] = max(token, 0)
    before = arrays_of(cases, active, stops)
    after = entry.run(before)
    wrong = 0
    for row, token in enumerate(expected):
        has_token = bool(active[row]) and token >= 0
        goes_on = int(has_token and token not in stops[row])
        want = {
            "tokens": token if has_token else -1,
            "ids": token if has_token else row,
            "positions": 100 + row + goes_on,
            "active": goes_on,
            "counters": (cases[row][1]["counter"] + has_token) % 2**64,
        }
        got = {name: int(after[name][row]) for name in want}
        if got != want:
            wrong += 1
            print(f"  row {row}: {cases[row][1]}: expected {want}, got {got}")
    return wrong


def time(entry, parameters):
    """Microseconds of one launch among many."""
    rng = np.random.default_rng(0)
    defaults = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 1, "counter": 0}
    cases = []
    for _ in range(entry.rows):
        logits = (rng.standard_normal(entry.vocab) * 3).astype(np.float32)
        cases.append((logits, {**defaults, **parameters}))
    stops = np.full((entry.rows, STOPS), -1, np.int32)
    entry.run(arrays_of(cases, np.ones(entry.rows, np.int32), stops))
    times = [entry.device.time(lambda: [entry.launch() for _ in range(100)]) * 10 for _ in range(5)]
    return sorted(times)[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=40, help="runs of each shape; large ones have fewer")
    args = parser.parse_args()
    device = Device()
    module = Module((HERE / "kernels.cubin").read_bytes())
    wrong = rows_checked = 0
    print(device.name)
    for rows, vocab in SHAPES:
        entry = Entry(device, module, rows, vocab)
        rng = np.random.default_rng([rows, vocab])
        runs = args.cases if vocab < 10000 else max(2, args.cases // 10)
        bad = sum(check(entry, rng) for _ in range(runs))
        wrong, rows_checked = wrong + bad, rows_checked + rows * runs
        print(f"{entry_name(rows, vocab)}: {rows * runs - bad} of {rows * runs} rows right")
        if vocab > 10000:
            print("  us: " + ", ".join(f"{name} {time(entry, p):.1f}" for name, p in TIMED.items()))
        entry.free()
    print(f"{rows_checked} rows, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
