#!/usr/bin/env python3
"""What every method keeps of the dense model's quality at several budgets, on a GPU.

    SPARSE_RUNTIME_LIBRARY=libsparse_runtime.so device_quality.py BUNDLE [--jobs N] [--json FILE]

BUNDLE is of make_device_bundle.py. Of --length tokens the first --prefill go in as a prompt, no more than the least budget,
so that every later step runs through the method; the others are fed one by one, whatever the model would have said. KL is of
the method's distribution from the dense one, in nats a token. Needs NumPy, a GPU and the runtime.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "python")]

from budgets import policies
from quality import compare, write_logits


def load(bundle: Path, name: str):
    import sparse_opt

    weights = bundle / f"{name}.spx" / "weights.safetensors"
    if not weights.exists():
        os.link(bundle / "weights.safetensors", weights)
    return sparse_opt.load(weights.parent, device="cuda", verify=False)


def measure(arguments: argparse.Namespace, name: str) -> None:
    """One artifact; a line of JSON. `dense` leaves its logits for the others."""
    ids = np.load(arguments.bundle / "ids.npy")[: arguments.length]
    model = load(arguments.bundle, name)
    path = arguments.logits if name == "dense" else Path(f"{arguments.logits}.{name}")
    own = np.memmap(path, np.float32, "w+", shape=(len(ids), model.vocab))
    start = time.time()
    prefill = len(ids) if name == "dense" else arguments.prefill
    kv_bytes = write_logits(model, ids, prefill, own, 1)
    seconds = time.time() - start
    dense = own if name == "dense" else np.memmap(arguments.logits, np.float32, "r", shape=own.shape)
    nll, kl, same = compare(own, dense, ids)[arguments.start :].T
    row = {"name": name, "perplexity": float(np.exp(np.nanmean(nll))), "kl": float(kl.mean()),
           "kl_max": float(kl.max()), "top1": float(same.mean()), "kv_bytes": kv_bytes, "seconds": seconds}  # fmt: skip
    if name != "dense":
        path.unlink()
    print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--length", type=int, default=4096, metavar="N", help="tokens of text (default: 4096)")
    parser.add_argument("--prefill", type=int, default=512, metavar="N", help="tokens of the prompt (default: 512)")
    parser.add_argument("--from", dest="start", type=int, default=1024, metavar="N",
                        help="position from which to average (default: 1024)")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="processes on the GPU (default: 4)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these methods, besides dense")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--logits", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return measure(arguments, arguments.one)

    with tempfile.TemporaryDirectory() as work:
        logits = Path(work) / "dense"

        def run(name: str) -> dict:
            command = [sys.executable, __file__, arguments.bundle, "--length", arguments.length, "--prefill",
                       arguments.prefill, "--from", arguments.start, "--one", name, "--logits", logits]  # fmt: skip
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stderr.strip()[-500:]}")
            return json.loads(done.stdout)

        names = [name for name in arguments.only or policies() if (arguments.bundle / f"{name}.spx").exists()]
        print(f"{'method':<26} {'perplexity':>10} {'KL':>9} {'KL max':>8} {'top-1':>7} {'KV MB':>7} {'s':>6}")
        rows = []
        with ThreadPoolExecutor(arguments.jobs) as pool:
            # One by one: a row that takes long keeps none of those before it.
            for row in chain([run("dense")], pool.map(run, [name for name in names if name != "dense"])):
                rows.append(row)
                print(
                    f"{row['name']:<26} {row['perplexity']:>10.4f} {row['kl']:>9.2e} {row['kl_max']:>8.3f} "
                    f"{row['top1']:>7.2%} {row['kv_bytes'] / 1e6:>7.1f} {row['seconds']:>6.1f}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
