"""Greedy tokens of the dense f32 artifact are those of ONNX Runtime, from both ONNX forms."""

from collections.abc import Iterator

import numpy as np
from common.ort import OrtDecoder
from report import Check
from setup import Setup
from smollm2_artifacts import DECOMPOSED, STANDARD

LENGTHS = (32, 700, 4000)
NEW = 64
CHUNK = 512  # prompt tokens of one call of ONNX Runtime: the scores of a whole prompt would not fit into memory
FORMS = {"dense": DECOMPOSED, "dense-standard": STANDARD}


def reference(decoder: OrtDecoder, prompt: np.ndarray) -> tuple[np.ndarray, float]:
    """Greedy tokens and the least margin by which one won."""
    decoder.reset()
    for start in range(0, len(prompt), CHUNK):
        logits = decoder.step(prompt[None, start : start + CHUNK])
    tokens, margins = [], []
    while True:
        second, first = np.partition(logits[0, -1], -2)[-2:]
        tokens.append(int(logits[0, -1].argmax()))
        margins.append(float(first - second))
        if len(tokens) == NEW:
            return np.array(tokens), min(margins)
        logits = decoder.step(np.array([tokens[-1:]]))


def run(setup: Setup) -> Iterator[Check]:
    for artifact, model in FORMS.items():
        decoder = OrtDecoder(setup.models / model, setup.threads)
        for length in LENGTHS:
            prompt = setup.ids[:length]
            expected, margin = reference(decoder, prompt)
            got = setup.run("generate", artifact, "-p", setup.write_ids(prompt), "-n", NEW)["ids"]
            equal = int(np.argmin([*(expected == got), False]))
            figures = f"{equal} of {NEW} tokens equal, least margin {margin:.4f}"
            yield Check(f"greedy, {model}, prompt {length}", equal == NEW, figures)
