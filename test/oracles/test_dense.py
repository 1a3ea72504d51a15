"""The dense oracle against ONNX Runtime, and its own properties."""

from pathlib import Path

import numpy as np
import pytest
from common.config import LlamaConfig
from common.weights import random_weights
from make_tiny_llama import make_tiny_llama
from oracles import dense
from oracles.model import Decoder
from safetensors.numpy import load_file


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_forward_equals_onnx_runtime(tmp_path: Path, tied: bool, dtype: type) -> None:
    config = LlamaConfig(tied=tied, rope_theta=1e5)
    make_tiny_llama(tmp_path, config, seed=4, batch=2, length=90)
    reference = load_file(tmp_path / "ref.safetensors")
    network = dense.Network(config, random_weights(config, seed=4), dtype)
    for ids, logits in zip(reference["ids"], reference["logits"], strict=True):
        np.testing.assert_allclose(dense.forward(network, ids), logits, atol=2e-5 * logits.std(), rtol=1e-4)


@pytest.mark.parametrize(("prefill", "chunk"), [(75, None), (75, 16), (40, 13), (1, None), (0, None)])
def test_any_cut_equals_the_whole_row(network: dense.Network, ids: np.ndarray, prefill: int, chunk: int | None) -> None:
    logits = Decoder(network).run(ids, prefill, chunk)
    np.testing.assert_allclose(logits, dense.forward(network, ids), atol=1e-10)


def test_rope_depends_on_distance_only(rng: np.random.Generator) -> None:
    q, k = rng.standard_normal((2, 1, 1, 16))

    def score(query: int, key: int) -> float:
        rotated = [dense.rope_half(x, np.array([p]), 1e4) for x, p in ((q, query), (k, key))]
        return float((rotated[0] * rotated[1]).sum())

    assert score(12, 5) == pytest.approx(score(112, 105), abs=1e-4)
    assert score(12, 5) != pytest.approx(score(12, 6), abs=1e-2)


def test_future_tokens_change_nothing(network: dense.Network, ids: np.ndarray) -> None:
    changed = ids.copy()
    changed[50:] = (changed[50:] + 1) % network.config.vocab
    before, after = dense.forward(network, ids), dense.forward(network, changed)
    np.testing.assert_array_equal(before[:50], after[:50])
    assert np.abs(before[50:] - after[50:]).max() > 1e-3
