"""GenAI's form of the tiny Llama agrees with the others."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from common.config import LlamaConfig
from common.form_genai import GenaiForm
from common.form_standard import StandardForm
from common.llama_onnx import write_llama
from common.ort import OrtDecoder
from common.weights import random_weights


@pytest.mark.parametrize("tied", [False, True])
def test_genai_form_agrees(tmp_path: Path, tied: bool) -> None:
    config = LlamaConfig(max_positions=64, tied=tied)
    weights = random_weights(config, 7)
    forms = {"standard": StandardForm(config), "genai": GenaiForm(config), "last": GenaiForm(config, last_only=True)}
    for name, form in forms.items():
        write_llama({"model.onnx": form}, weights, tmp_path / name, "model.onnx.data")
    ids = np.random.default_rng(1).integers(0, config.vocab, (1, 40))
    cuts = (17, 20, 1, 1, 1)
    standard, genai, last = (OrtDecoder(tmp_path / name / "model.onnx", 1).run(ids, cuts) for name in forms)
    tolerance = {"atol": 2e-5 * standard.std(), "rtol": 1e-4}
    np.testing.assert_allclose(genai, standard, **tolerance)
    np.testing.assert_allclose(last, standard[:, np.cumsum(cuts) - 1], **tolerance)


def test_genai_form_packs_and_skips(tmp_path: Path) -> None:
    config = LlamaConfig(max_positions=64)
    write_llama({"model.onnx": GenaiForm(config)}, random_weights(config, 7), tmp_path, None)
    graph = onnx.load(tmp_path / "model.onnx").graph
    count = {kind: sum(n.op_type == kind for n in graph.node) for kind in {n.op_type for n in graph.node}}
    assert count["GroupQueryAttention"] == config.layers
    assert count["SkipSimplifiedLayerNormalization"] == 2 * config.layers
    assert count["MatMul"] == 5 * config.layers + 1
    assert "Add" not in count
