#!/usr/bin/env python3
"""Makes what device_quality.py needs on a machine with a GPU: every method at several budgets, in bf16.

    make_device_bundle.py DIR --text FILE --sparse-opt PATH --out BUNDLE [--target cuda:ARCH] [--only NAME ...]

DIR is a folder of examples/smollm2/make_smollm2.py, FILE a long text. BUNDLE gets an artifact for each policy of budgets.py,
their weights once in weights.safetensors, and ids.npy, the text's first tokens.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from budgets import policies
from smollm2_artifacts import BF16, DECOMPOSED

TOKENS = 9000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--sparse-opt", type=Path, required=True, metavar="PATH")
    parser.add_argument("--target", default="cuda:sm_90a")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these policies")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE")
    arguments = parser.parse_args()
    from tokenizers import Tokenizer

    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(arguments.directory / "tokenizer.json"))
    ids = tokenizer.encode(arguments.text.read_text(encoding="utf-8")[: 10 * TOKENS]).ids[:TOKENS]
    np.save(arguments.out / "ids.npy", np.array(ids, np.int64))
    weights = arguments.out / "weights.safetensors"
    for name, policy in policies().items():
        if arguments.only and name not in arguments.only:
            continue
        artifact = arguments.out / f"{name}.spx"
        options = [f"--target={arguments.target}", "--prefill-chunk=512", "--buckets=1"]
        if policy:
            (arguments.out / "policy.yaml").write_text(policy)
            options.append(f"--policy={arguments.out / 'policy.yaml'}")
        command = [arguments.sparse_opt.resolve(), "compile", (arguments.directory / DECOMPOSED).resolve()]
        subprocess.run([*command, *BF16, *options, "-o", artifact], check=True)
        shutil.move(artifact / weights.name, weights)  # the same for all
        print(name, flush=True)


if __name__ == "__main__":
    main()
