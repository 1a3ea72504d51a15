"""Raise on real files: every exporter's graph means in canonical form what it meant before.

The corpus is a folder of small decoders with references; SPARSE_CORPUS names it. SPARSE_OPT names the compiler when it
is not where the default preset builds it.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from canonical_form import CanonicalModel
from common.config import LlamaConfig
from make_tiny_llama import FORMS, make_tiny_llama
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
SPARSE_OPT = Path(os.environ.get("SPARSE_OPT", ROOT / "build/default/bin/sparse-opt"))
CORPUS = os.environ.get("SPARSE_CORPUS")
ROAD = ("optimum-llama", "optimum-llama_tied_rope3", "dynamo_default-llama", "dynamo23-llama", "mobius-llama")
FURTHER = ("optimum-mistral",)
CONFIGS = {
    "gqa": LlamaConfig(max_positions=256),
    "mha": LlamaConfig(max_positions=256, heads=3, kv_heads=3),
    "mqa": LlamaConfig(max_positions=256, heads=8, kv_heads=1, head_dim=8),
    "tied": LlamaConfig(max_positions=256, tied=True, layers=1, rope_theta=1e5),
}

pytestmark = pytest.mark.skipif(not SPARSE_OPT.exists(), reason=f"{SPARSE_OPT} is not built (SPARSE_OPT names another)")


def sparse_opt(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([SPARSE_OPT, *map(str, arguments)], capture_output=True, text=True, check=False)


def raised(model: Path, folder: Path) -> CanonicalModel:
    imported, canonical = folder / "imported.mlir", folder / "canonical.mlir"
    for arguments in (("import", model, "-o", imported), (imported, "--sparse-raise", "-o", canonical)):
        result = sparse_opt(*arguments)
        assert result.returncode == 0, result.stderr
    return CanonicalModel(canonical.read_text())


def check_logits(model: CanonicalModel, reference: Path) -> None:
    """The whole row at once, and as a prompt with single tokens after it."""
    expected = load_file(reference)
    ids, logits = expected["ids"], expected["logits"]
    prompt = ids.shape[1] - 4
    model.reset()
    np.testing.assert_allclose(model.run(ids), logits, atol=1e-4, rtol=1e-4)
    model.reset()
    np.testing.assert_allclose(model.run(ids[:, :prompt]), logits[:, :prompt], atol=1e-4, rtol=1e-4)
    for at in range(prompt, ids.shape[1]):
        np.testing.assert_allclose(model.run(ids[:, at : at + 1])[:, 0], logits[:, at], atol=1e-4, rtol=1e-4)


def corpus_folder(name: str) -> Path:
    if not CORPUS:
        pytest.skip("SPARSE_CORPUS does not name the folder of exported models")
    return next(Path(CORPUS).glob(f"*/{name}"))


@pytest.mark.parametrize("name", ROAD + FURTHER)
def test_exported_model(name: str, tmp_path: Path) -> None:
    folder = corpus_folder(name)
    check_logits(raised(folder / "model.onnx", tmp_path), folder / "ref.safetensors")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("config", CONFIGS)
def test_tiny_llama(config: str, form: str, tmp_path: Path) -> None:
    make_tiny_llama(tmp_path, CONFIGS[config], forms=(form,), seed=4, batch=2, length=40)
    model = raised(tmp_path / f"model.{form}.onnx", tmp_path)
    check_logits(model, tmp_path / "ref.safetensors")


@pytest.mark.parametrize("form", FORMS)
def test_inspect_tells_what_the_model_is(form: str, tmp_path: Path) -> None:
    config = CONFIGS["tied"]
    make_tiny_llama(tmp_path, config, forms=(form,), external=True, length=8)
    result = sparse_opt("inspect", "--strict", "--json", tmp_path / f"model.{form}.onnx")
    assert result.returncode == 0, result.stderr
    card = json.loads(result.stdout)
    facts = card["facts"]
    assert card["raised"] is True
    assert (facts["layers"], facts["hidden"], facts["vocab"]) == (config.layers, config.hidden, config.vocab)
    assert (facts["ffn"], facts["gated"], facts["activation"]) == (config.ffn, True, "swish")
    assert facts["tied"] is True
    assert facts["rope"]["theta"] == config.rope_theta
    assert facts["rope"]["kind"] == "half-split"
    assert facts["norm_epsilon"] == pytest.approx(config.norm_epsilon)
    (attention,) = facts["attention"]
    assert (attention["heads"], attention["kv_heads"]) == (config.heads, config.kv_heads)
    assert attention["key_dim"] == attention["value_dim"] == config.head_dim
    assert attention["window"] is None
    sites = {row["layer"]: row["parts"] for row in card["sites"]}
    assert sites[0] == dict.fromkeys(("attention", "q", "k", "v", "o", "gate", "up", "act", "down"), 1) | {"norm": 2}
    assert sites[-1] == {"embed": 1, "head": 1, "norm": 1}


def test_inspect_reads_the_window(tmp_path: Path) -> None:
    folder = corpus_folder("optimum-mistral")
    result = sparse_opt("inspect", "--json", folder / "model.onnx")
    windows = [attention["window"] for attention in json.loads(result.stdout)["facts"]["attention"]]
    assert windows == [16, 16]


def test_inspect_names_what_is_not_raised() -> None:
    model = corpus_folder("genai_fp32-llama") / "model.onnx"
    result = sparse_opt("inspect", "--strict", model)
    assert result.returncode == 1
    assert "GroupQueryAttention of domain 'com.microsoft'" in result.stderr
    assert "error: the first node that is not raised" in result.stderr
    result = sparse_opt("inspect", model)
    assert result.returncode == 0
    assert "2 GroupQueryAttention" in result.stdout
