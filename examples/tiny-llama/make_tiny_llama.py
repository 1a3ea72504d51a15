#!/usr/bin/env python3
"""Writes a tiny Llama decoder with seeded random weights, and what ONNX Runtime answers for it.

    make_tiny_llama.py --out DIR [--form decomposed|standard|both] [--external] [...]

DIR gets model.decomposed.onnx (opset 18, primitive operators), model.standard.onnx (opset 24, the standard's own LLM
operators), with --external their common model.onnx.data, and ref.safetensors: `ids` I64 [B, S] and `logits`
F32 [B, S, V].
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import LlamaConfig
from common.form_decomposed import DecomposedForm
from common.form_standard import StandardForm
from common.llama_onnx import write_llama
from common.ort import OrtDecoder
from common.weights import random_weights

FORMS = {form.name: form for form in (DecomposedForm, StandardForm)}


def make_tiny_llama(
    directory: Path,
    config: LlamaConfig = LlamaConfig(),
    seed: int = 0,
    forms: tuple[str, ...] = tuple(FORMS),
    external: bool = False,
    batch: int = 1,
    length: int = 160,
) -> None:
    """Writes the models and the reference; see the module's text."""
    weights = random_weights(config, seed)
    files = {f"model.{name}.onnx": FORMS[name](config) for name in forms}
    write_llama(files, weights, directory, "model.onnx.data" if external else None)
    config.save(directory)

    rng = np.random.default_rng([seed, 1])
    ids = rng.integers(0, config.vocab, (batch, length), dtype=np.int64)
    logits = OrtDecoder(directory / next(iter(files))).run(ids)
    save_file({"ids": ids, "logits": logits}, directory / "ref.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--form", choices=[*FORMS, "both"], default="both")
    parser.add_argument("--external", action="store_true", help="keep the weights in model.onnx.data")
    parser.add_argument("--seed", type=int, default=0, help="of weights and ids (default: 0)")
    parser.add_argument("--batch", type=int, default=1, help="rows of the reference (default: 1)")
    parser.add_argument("--length", type=int, default=160, help="tokens a row of the reference (default: 160)")
    figures = parser.add_argument_group("the model")
    for field in dataclasses.fields(LlamaConfig):
        option = "--" + field.name.replace("_", "-")
        if field.type is bool:
            figures.add_argument(option, action="store_true")
        else:
            figures.add_argument(option, type=field.type, default=field.default, help=f"(default: {field.default})")
    arguments = parser.parse_args()

    try:
        config = LlamaConfig(**{f.name: getattr(arguments, f.name) for f in dataclasses.fields(LlamaConfig)})
    except ValueError as error:
        parser.error(str(error))
    forms = tuple(FORMS) if arguments.form == "both" else (arguments.form,)
    make_tiny_llama(
        arguments.out, config, arguments.seed, forms, arguments.external, arguments.batch, arguments.length
    )


if __name__ == "__main__":
    main()
