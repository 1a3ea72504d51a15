"""Finds what the model scripts wrote into a folder."""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "test")]

from common.config import LlamaConfig  # noqa: E402
from common.weights import weight_shapes  # noqa: E402


def read_weights(model: Path, config: LlamaConfig) -> dict[str, np.ndarray]:
    """The weights of a model that the builder of examples/common wrote, by their checkpoint names."""
    names = {name for name, _ in weight_shapes(config)}
    graph = onnx.load(model).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in names}
