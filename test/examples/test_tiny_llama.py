"""The tiny Llama: its forms agree with each other, however a row is cut."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from common.config import LlamaConfig
from common.ort import OrtDecoder
from make_tiny_llama import FORMS, make_tiny_llama
from safetensors.numpy import load_file

CONFIGS = {
    "gqa": LlamaConfig(max_positions=256),
    "mha": LlamaConfig(max_positions=256, heads=3, kv_heads=3),
    "mqa": LlamaConfig(max_positions=256, heads=8, kv_heads=1, head_dim=8),
    "tied": LlamaConfig(max_positions=256, tied=True, layers=1, rope_theta=1e5),
}
CUTS = {"whole": (), "chunks": (7, 32, 32), "decode": (41, 1, 1, 1, 1, 1), "tokens": (1,) * 70}
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    make_tiny_llama(path, CONFIGS[request.param], seed=3, external=True, batch=2, length=71)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cuts", CUTS)
def test_forms_and_cuts_agree(folder: Path, form: str, cuts: str) -> None:
    reference = load_file(folder / "ref.safetensors")
    logits = OrtDecoder(folder / f"model.{form}.onnx", threads=1).run(reference["ids"], CUTS[cuts])
    np.testing.assert_allclose(logits, reference["logits"], **TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_model_is_valid_onnx(folder: Path, form: str) -> None:
    onnx.checker.check_model(folder / f"model.{form}.onnx", full_check=True)


@pytest.mark.parametrize("form", FORMS)
def test_inline_and_external_hold_the_same_weights(tmp_path: Path, form: str) -> None:
    config = LlamaConfig(max_positions=64)
    for external in (False, True):
        make_tiny_llama(tmp_path / str(external), config, forms=(form,), external=external, length=8)
    inline, outside = (onnx.load(tmp_path / str(external) / f"model.{form}.onnx") for external in (False, True))
    pairs = list(zip(inline.graph.initializer, outside.graph.initializer, strict=True))
    assert pairs
    for one, other in pairs:
        assert one.name == other.name
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))


def test_same_seed_same_bytes_other_seed_other_logits(tmp_path: Path) -> None:
    config = LlamaConfig(max_positions=64)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        make_tiny_llama(tmp_path / name, config, seed=seed, external=True, length=8)
    for file in sorted(tmp_path.glob("a/*")):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    assert (tmp_path / "a/ref.safetensors").read_bytes() != (tmp_path / "c/ref.safetensors").read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_tied_embedding_is_stored_once(tmp_path: Path, form: str) -> None:
    config = LlamaConfig(max_positions=64, tied=True)
    make_tiny_llama(tmp_path, config, forms=(form,), length=8)
    model = onnx.load(tmp_path / f"model.{form}.onnx")
    shapes = [sorted(tensor.dims) for tensor in model.graph.initializer]
    assert shapes.count(sorted((config.vocab, config.hidden))) == 1


def test_padded_row_equals_row_alone(tmp_path: Path) -> None:
    """The decomposed form's attention_mask hides left padding."""
    import onnxruntime

    config = LlamaConfig(max_positions=64)
    make_tiny_llama(tmp_path, config, forms=("decomposed",), length=12)
    reference = load_file(tmp_path / "ref.safetensors")
    pad, n = 5, reference["ids"].shape[1]
    ids = np.concatenate([np.full((1, pad), 7), reference["ids"]], axis=1)
    feeds = {
        "input_ids": ids,
        "attention_mask": np.concatenate([np.zeros((1, pad), np.int64), np.ones((1, n), np.int64)], axis=1),
        "position_ids": np.maximum(np.arange(pad + n) - pad, 0)[None],
    }
    session = onnxruntime.InferenceSession(tmp_path / "model.decomposed.onnx", providers=["CPUExecutionProvider"])
    for value in session.get_inputs():
        if value.name.startswith("past_key_values."):
            feeds[value.name] = np.zeros((1, config.kv_heads, 0, config.head_dim), np.float32)
    logits = session.run(["logits"], feeds)[0]
    np.testing.assert_allclose(logits[:, pad:], reference["logits"], **TOLERANCE)
