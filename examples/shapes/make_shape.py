#!/usr/bin/env python3
"""Writes a Llama decoder of a well-known shape, without its weights: for measuring speed, not for text.

    make_shape.py --shape llama-3.1-8b|llama-2-7b|smollm2-135m --out DIR [--layers N]

DIR gets model.onnx (opset 18, primitive operators), whose initializers name bytes of a file that does not exist. Compile
it with `sparse-opt compile --weights none`, run it with `sparse-run bench --weights random:0`.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import LlamaConfig
from common.external import external_tensors
from common.form_decomposed import DecomposedForm
from common.llama_onnx import build_llama
from common.weights import weight_shapes

SHAPES = {
    "llama-3.1-8b": LlamaConfig(32, 4096, 32, 8, 128, 14336, 128256, 131072, 5e5),
    "llama-2-7b": LlamaConfig(32, 4096, 32, 32, 128, 11008, 32000, 4096, 1e4),
    "smollm2-135m": LlamaConfig(30, 576, 9, 3, 64, 1536, 49152, 8192, 1e5, tied=True),
}


def make_shape(directory: Path, config: LlamaConfig) -> Path:
    """Writes DIR/model.onnx."""
    form = DecomposedForm(config)
    graph = build_llama(form)
    nothing = np.zeros((), np.float32)
    weights = {name: np.broadcast_to(nothing, shape) for name, shape in weight_shapes(config)}
    tensors = external_tensors(weights, "absent.data")
    initializers = [tensors[name] for name in tensors if name in graph.used_weights]
    model = graph.model("main_graph", form.producer, form.ir_version, form.opsets, initializers)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.onnx"
    onnx.save_model(model, path)
    config.save(directory)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    arguments = parser.parse_args()
    config = SHAPES[arguments.shape]
    if arguments.layers:
        config = dataclasses.replace(config, layers=arguments.layers)
    print(make_shape(arguments.out, config))


if __name__ == "__main__":
    main()
