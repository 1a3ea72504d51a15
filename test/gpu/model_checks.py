#!/usr/bin/env python3
"""Properties of compiled models that need no reference: the bits of runs, whole budgets and batches.

    model_checks.py repeat MODEL.spx           two runs give the same bits
    model_checks.py whole MODEL.spx DENSE.spx  a budget that leaves nothing out gives the bits of the dense model
    model_checks.py batch MODEL.spx            rows of a ragged batch get what they get alone, within rounding

Needs NumPy, and the runtime with its Python package (SPARSE_RUNTIME_LIBRARY, PYTHONPATH). Exits with 1 when it fails.
"""

import argparse
import sys

import numpy as np
import sparse_opt

PROMPT, STEPS = 75, 40
PIECES = (5, 64, 1, 33)  # of prompts, with a decode step after each
BATCH = ((1, 24), (5, 7), (17, 30), (64, 12), (70, 18))  # prompt, steps
DEVICE = "cuda"
CLOSE = {"f32": 1e-4, "bf16": 0.25}  # largest difference that batches may make


def token_ids(model, seed: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 5]).integers(0, model.vocab, count, dtype=np.int64)


def logits_of(model, ids: np.ndarray, prompt: int, pieces: tuple[int, ...] = ()) -> np.ndarray:
    """Prompt, steps, then pieces of prompt with a step after each: the logits after every call."""
    rows = []
    with model.context(check_counts=True).sequence() as sequence:
        rows.append(sequence.prefill(ids[:prompt]))
        while len(sequence) < prompt + STEPS:
            rows.append(sequence.decode(int(ids[len(sequence)])))
        for length in pieces:
            rows.append(sequence.prefill(ids[len(sequence) : len(sequence) + length]))
            rows.append(sequence.decode(int(ids[len(sequence)])))
    return np.stack(rows)


def difference(one: np.ndarray, other: np.ndarray) -> str:
    """Which rows differ, empty where none does."""
    wrong = [i for i in range(len(one)) if one[i].tobytes() != other[i].tobytes()]
    return f"{len(wrong)} of {len(one)} rows differ, first row {wrong[0]}, by {np.abs(one - other).max():.1e}" if wrong else ""


def repeat(path: str) -> tuple[str, str]:
    model = sparse_opt.load(path, device=DEVICE)
    ids = token_ids(model, 1, 300)
    first, second = (logits_of(model, ids, PROMPT, PIECES) for _ in range(2))
    return difference(first, second), f"{len(first)} rows of logits, all bits equal"


def whole(path: str, dense: str) -> tuple[str, str]:
    model, other = (sparse_opt.load(one, device=DEVICE) for one in (path, dense))
    ids = token_ids(model, 2, 300)
    rows = 0
    for prompt in (1, PROMPT):
        got, expected = (logits_of(one, ids, prompt, PIECES) for one in (model, other))
        rows += len(got)
        if text := difference(got, expected):
            return f"prompt of {prompt}: {text}", ""
    return "", f"{rows} rows of logits have the bits of the dense model"


def batch(path: str) -> tuple[str, str]:
    model = sparse_opt.load(path, device=DEVICE)
    context = model.context(max_sequences=len(BATCH))
    rows = [np.split(token_ids(model, 10 + i, prompt + steps), [prompt]) for i, (prompt, steps) in enumerate(BATCH)]
    alone = []
    for prompt, tokens in rows:
        with context.sequence() as sequence:
            sequence.prefill(prompt)
            alone.append([sequence.decode(int(token)) for token in tokens])
    sequences = [context.sequence() for _ in rows]
    for sequence, (prompt, _) in zip(sequences, rows, strict=True):
        sequence.prefill(prompt)
    largest, equal, total = 0.0, 0, 0
    for step in range(max(steps for _, steps in BATCH)):
        running = [i for i, (_, steps) in enumerate(BATCH) if step < steps]
        answer = context.decode([sequences[i] for i in running], [int(rows[i][1][step]) for i in running])
        for i, one in zip(running, answer, strict=True):
            largest = max(largest, float(np.abs(one - alone[i][step]).max()))
            equal += one.tobytes() == alone[i][step].tobytes()
            total += 1
    figures = f"largest difference {largest:.1e}, {equal} of {total} rows equal bit for bit"
    close = CLOSE[model.kv_dtype]
    return ("" if largest <= close else f"{figures}, {close} may be"), figures


CHECKS = {"repeat": repeat, "whole": whole, "batch": batch}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("artifacts", nargs="+", metavar="MODEL.spx")
    options = parser.parse_args()
    failed, figures = CHECKS[options.check](*options.artifacts)
    print(failed or figures)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
