#!/usr/bin/env python3
"""Makes what on_device.py needs to accept a build on a machine with a GPU: no compiler, no ONNX Runtime there.

    device_bundle.py DIR --text FILE --sparse-opt PATH --target cuda:ARCH --out BUNDLE

DIR is a folder of examples/smollm2/make_smollm2.py, FILE a long text. BUNDLE gets the artifacts in bf16 (their weights once,
in weights.safetensors) and answers.npz: `ids`, the text's tokens, and `top1`, the likeliest next token by ONNX Runtime in f32
after each of four times 2,000 (each 2,000 tokens a sequence of their own).
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("benchmarks", "examples")]

from common.ort import OrtDecoder
from smollm2_artifacts import ARTIFACTS, BF16, DECOMPOSED, POLICIES

WINDOWS, POSITIONS = 4, 2000
IDS = 9000
INVARIANT = "-batch-invariant"
NAMES = ("dense", "whole-page_topk-page16", "whole-h2o-page16", "whole-streaming-page16", "mixed", "quest-sinks-1024",
         "dense-batch-invariant", "quest-sinks-1024-batch-invariant")  # fmt: skip


def compile_all(arguments: argparse.Namespace) -> None:
    """One artifact for each name; all have the same weights."""
    (arguments.out / "mixed.yaml").write_text(POLICIES["mixed.yaml"])
    weights = arguments.out / "weights.safetensors"
    for name in NAMES:
        options = [option for option in ARTIFACTS[name.removesuffix(INVARIANT)][1] if not option.startswith("--buckets")]
        if name.endswith(INVARIANT):
            options.append("--batch-invariant")
        target = [f"--target={arguments.target}", "--prefill-chunk=512", "--buckets=1,2,4,8"]
        command = [arguments.sparse_opt.resolve(), "compile", (arguments.directory / DECOMPOSED).resolve()]
        subprocess.run([*command, *BF16, *options, *target, "-o", f"{name}.spx"], cwd=arguments.out, check=True)
        own = arguments.out / f"{name}.spx" / weights.name
        if weights.exists() and weights.read_bytes() != own.read_bytes():
            raise RuntimeError(f"{name} has weights of its own")
        shutil.move(own, weights)
        print(name, flush=True)


def answers(directory: Path, text: Path) -> dict[str, np.ndarray]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = np.array(tokenizer.encode(text.read_text(encoding="utf-8")[:400_000]).ids[:IDS], np.int64)
    decoder = OrtDecoder(directory / DECOMPOSED)
    windows = ids[: WINDOWS * POSITIONS].reshape(WINDOWS, POSITIONS)
    return {"ids": ids, "top1": np.stack([decoder.run(row[None], [500] * 3)[0].argmax(-1) for row in windows])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--sparse-opt", type=Path, required=True, metavar="PATH")
    parser.add_argument("--target", default="cuda:sm_90a")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "weights.safetensors").unlink(missing_ok=True)
    compile_all(arguments)
    if not (arguments.out / "answers.npz").exists():
        np.savez(arguments.out / "answers.npz", **answers(arguments.directory, arguments.text))


if __name__ == "__main__":
    main()
