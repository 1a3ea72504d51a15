#!/usr/bin/env python3
"""Accepts or refuses a build by what its GPU code does on SmolLM2. Needs NumPy, a GPU and the runtime, nothing else.

    SPARSE_RUNTIME_LIBRARY=libsparse_runtime.so on_device.py BUNDLE

BUNDLE is what device_bundle.py made. Exits with 1 when a check fails.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "python")]

import sparse_opt
from report import Check

PROMPT = 1000  # of the compared positions; the others are decode steps
LEAST = 0.99
# How far a method is followed, token by token, then at single lengths: those whose steps are slow less far.
LENGTHS = {"page_topk": (300, (700, 1500, 4000)), "streaming": (300, (700, 1500, 4000)), "h2o": (48, (100, 301))}
BATCH = ((1, 24), (5, 7), (17, 30), (64, 12), (130, 18), (200, 15), (333, 21), (700, 10))  # prompt, steps
ROUNDING = 0.5  # largest difference of logits that batches in bf16 may make


class Bundle:
    """Artifacts and answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        answers = np.load(folder / "answers.npz")
        self.ids, self.top1 = answers["ids"], answers["top1"]

    def context(self, name: str, sequences: int = 1):
        artifact = self.folder / f"{name}.spx"
        weights = artifact / "weights.safetensors"
        if not weights.exists():
            os.link(self.folder / "weights.safetensors", weights)
        return sparse_opt.load(artifact, device="cuda").context(max_sequences=sequences)


def agreement(bundle: Bundle) -> Iterator[Check]:
    """The likeliest token is ONNX Runtime's; a second run gives the same bits."""
    context, (windows, positions) = bundle.context("dense"), bundle.top1.shape
    wrong = np.zeros((windows, 2), int)  # by prompt, by decode steps
    runs = []
    for window in (0, *range(windows)):
        ids = bundle.ids[window * positions :][:positions]
        with context.sequence() as sequence:
            hidden = sequence.prefill(ids[:PROMPT], all_hidden=True)
            rows = [context.logits(hidden[i : i + 16]) for i in range(0, PROMPT, 16)]
            rows += [sequence.decode(token)[None] for token in ids[PROMPT:]]
        logits = np.concatenate(rows)
        differs = logits.argmax(-1) != bundle.top1[window]
        wrong[window] = differs[:PROMPT].sum(), differs[PROMPT:].sum()
        if window == 0:
            runs.append(logits.tobytes())
    share = 1 - wrong.sum() / bundle.top1.size
    each = ", ".join(f"{prompt} + {steps}" for prompt, steps in wrong)
    figures = f"{share:.2%} of {windows} x {positions}; differ by prompt + by steps: {each}"
    yield Check("top-1 of ONNX Runtime in f32", share >= LEAST, figures)
    yield Check("two runs", runs[0] == runs[1], f"{positions} rows of logits")


def logits_by_length(bundle: Bundle, name: str, each: int, single: tuple[int, ...]) -> dict[int, bytes]:
    result = {}
    with bundle.context(name).sequence() as sequence:
        for length in range(1, each + 1):
            result[length] = sequence.decode(bundle.ids[length - 1]).tobytes()
        for length in single:
            result[length - 1] = sequence.prefill(bundle.ids[len(sequence) : length - 1]).tobytes()
            result[length] = sequence.decode(bundle.ids[length - 1]).tobytes()
    return result


def whole_budget(bundle: Bundle) -> Iterator[Check]:
    """A budget of at least the context gives the bits of the dense artifact."""
    for method, (each, single) in LENGTHS.items():
        expected = logits_by_length(bundle, "dense", each, single)
        got = logits_by_length(bundle, f"whole-{method}-page16", each, single)
        wrong = [length for length in expected if got[length] != expected[length]]
        figures = f"{len(expected) - len(wrong)} of {len(expected)} equal"
        yield Check(f"whole budget, {method}", not wrong, figures + (f", first wrong: {wrong[0]}" if wrong else ""))


def batch(bundle: Bundle) -> Iterator[Check]:
    """Rows of a ragged batch get what they get alone: within rounding, or bit for bit where that was asked for."""
    for name in ("dense", "quest-sinks-1024", "dense-batch-invariant", "quest-sinks-1024-batch-invariant"):
        context = bundle.context(name, len(BATCH))
        rows = [(bundle.ids[900 * i :][:prompt], bundle.ids[900 * i + prompt :][:steps])
                for i, (prompt, steps) in enumerate(BATCH)]
        alone = []
        for prompt, tokens in rows:
            with context.sequence() as sequence:
                sequence.prefill(prompt)
                alone.append([sequence.decode(token) for token in tokens])
        sequences = [context.sequence() for _ in rows]
        for sequence, (prompt, _) in zip(sequences, rows, strict=True):
            sequence.prefill(prompt)
        largest, same, total, equal = 0.0, 0, 0, 0
        for step in range(max(steps for _, steps in BATCH)):
            running = [i for i, (_, steps) in enumerate(BATCH) if step < steps]
            answer = context.decode([sequences[i] for i in running], [rows[i][1][step] for i in running])
            for i, one in zip(running, answer, strict=True):
                largest = max(largest, float(np.abs(one - alone[i][step]).max()))
                same += int(one.argmax() == alone[i][step].argmax())
                equal += int(one.tobytes() == alone[i][step].tobytes())
                total += 1
        figures = f"largest difference {largest:.3f}, top-1 {same} of {total}, {equal} equal bit for bit"
        good = equal == total if name.endswith("-batch-invariant") else largest <= ROUNDING
        yield Check(f"batch of {len(rows)}, {name}", good, figures)


def main() -> int:
    bundle = Bundle(Path(sys.argv[1]))
    failed = 0
    for check in (agreement, whole_budget, batch):
        for result in check(bundle):
            print(result, flush=True)
            failed += not result.passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
