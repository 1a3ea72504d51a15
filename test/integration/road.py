"""The tools as a user runs them, and tiny models to run them on.

SPARSE_BUILD names the build folder when it is not the one of the default preset.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common.config import LlamaConfig
from common.form_decomposed import DecomposedForm
from common.form_standard import StandardForm
from common.llama_onnx import write_llama
from common.weights import random_weights
from oracles.dense import Network
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SPARSE_BUILD", ROOT / "build" / "default"))
SPARSE_OPT, SPARSE_RUN = BUILD / "bin" / "sparse-opt", BUILD / "bin" / "sparse-run"
os.environ.setdefault("SPARSE_RUNTIME_LIBRARY", str(BUILD / "lib" / "libsparse_runtime.so"))
sys.path.insert(0, str(ROOT / "python"))

import sparse_opt  # noqa: E402

FORMS = {form.name: form for form in (StandardForm, DecomposedForm)}
PHASES = ("import", "raise", "mark", "stateful", "fuse", "linalg", "kernels", "llvm")
# A prefill of six rows compiles in a fifth of the time of one of eight or of the default; it has register tiles of two
# rows. Where larger tiles matter, a test asks for them.
CHUNK = 6
EVERY_BUCKET = "1,2,4,8"
GQA2 = LlamaConfig(max_positions=512)
GQA3 = LlamaConfig(max_positions=512, layers=3, heads=6, kv_heads=2, head_dim=24, hidden=96, ffn=130, vocab=317)


@dataclass(frozen=True)
class TinyModel:
    """One network in every form."""

    folder: Path
    config: LlamaConfig
    network: Network

    def onnx(self, form: str = "standard") -> Path:
        return self.folder / f"model.{form}.onnx"

    def ids(self, seed: int, *shape: int) -> np.ndarray:
        return np.random.default_rng([seed, 5]).integers(0, self.config.vocab, shape, dtype=np.int64)


def make_model(folder: Path, config: LlamaConfig, seed: int) -> TinyModel:
    weights = random_weights(config, seed)
    write_llama({f"model.{name}.onnx": form(config) for name, form in FORMS.items()}, weights, folder, None)
    return TinyModel(folder, config, Network(config, weights))


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def compile_model(model: Path, artifact: Path, *options: object) -> Path:
    """`sparse-opt compile`; --policy takes the text of a policy in place of a file."""
    artifact.parent.mkdir(parents=True, exist_ok=True)
    result = run(SPARSE_OPT, "compile", model, "-o", artifact, *options)
    assert result.returncode == 0, f"exit code {result.returncode}: {result.stderr}"
    return artifact


def policy_option(folder: Path, text: str) -> str:
    """Writes a policy file; the option that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
    path.write_text(text)
    return f"--policy={path}"


def rules(*lines: str) -> str:
    """The text of a policy file with these rules."""
    return "version: 1\nrules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


# What tests of sequences and batches run on GQA3 with, and the oracles check: small enough that 40 tokens overflow it.
POLICIES = {
    "dense": "",
    "quest": rules("layers: all, attention: {page_topk: {page: 4, budget: 16}}"),
    "h2o": rules("layers: all, kv: {h2o: {heavy: 9, recent: 9}}"),
    # Streaming; Quest over streaming on one of two KV heads; Quest over H2O.
    "mixed": rules(
        "layers: 1-, attention: {page_topk: {page: 4, budget: 16}}",
        "layers: 0, kv: {streaming: {sinks: 2, window: 14}}",
        "layers: 1, kv: {streaming: {sinks: 2, window: 14, heads: [1]}}",
        "layers: 2, kv: {h2o: {heavy: 19, recent: 9}}",
    ),
}


def verify(artifact: Path, ids: np.ndarray, logits: np.ndarray, prefill: int, tolerance: float = 1e-4) -> dict:
    """`sparse-run verify` against logits [B, S, V]; fails with its report."""
    reference = artifact.with_suffix(".ref.safetensors")
    save_file({"ids": np.ascontiguousarray(ids), "logits": logits.astype(np.float32)}, reference)
    options = ("--prefill", prefill, "--atol", tolerance, "--rtol", tolerance, "--check", "--json", "--quiet")
    result = run(SPARSE_RUN, "verify", artifact, "-r", reference, *options)
    assert result.returncode == 0, f"exit code {result.returncode}: {result.stdout} {result.stderr}"
    report = json.loads(result.stdout)
    assert report["positions"] == ids.size
    return report


def as_bf16(rows: np.ndarray) -> np.ndarray:
    """What a cache of bf16 gives back: rounded to the nearest, of equal ones to the even."""
    bits = rows.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(rows.dtype)


def feed(sequence: sparse_opt.Sequence, ids: np.ndarray, pieces: list[int]) -> np.ndarray:
    """Prefills ids in calls of these lengths and decodes the rest; logits [n, vocab] of every position."""
    rows, start = [], 0
    for length in pieces:
        hidden = sequence.prefill(ids[start : start + length], all_hidden=True)
        rows.append(sequence.context.logits(hidden))
        start += length
    rows += [sequence.decode(int(token))[None] for token in ids[start:]]
    return np.concatenate(rows)
