"""Sequences of a ragged batch that join and leave get, bit for bit, the logits they get alone."""

from collections.abc import Iterator

import numpy as np
from report import Check
from setup import Setup

PROMPTS = (1, 5, 17, 64, 130, 200, 333, 700)
JOINS = (0, 0, 3, 5, 0, 6, 2, 6)  # the step before which a sequence joins; in step 6 all run
STEPS = (24, 7, 30, 12, 18, 15, 21, 10)  # decode steps until it leaves


def alone(context, prompt: np.ndarray, tokens: np.ndarray) -> list[bytes]:
    with context.sequence() as sequence:
        first = sequence.prefill(prompt)
        return [first.tobytes(), *(sequence.decode(token).tobytes() for token in tokens)]


def together(context, rows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[list[bytes]], set[int]]:
    """Logits of every row, and the sizes that the batch had."""
    logits: list[list[bytes]] = [[] for _ in rows]
    running: dict[int, object] = {}
    sizes = set()
    for step in range(max(join + count for join, count in zip(JOINS, STEPS, strict=True)) + 1):
        for row, (prompt, _) in enumerate(rows):
            if JOINS[row] == step:
                running[row] = context.sequence()
                logits[row].append(running[row].prefill(prompt).tobytes())
        for row in [row for row in running if step == JOINS[row] + STEPS[row]]:
            running.pop(row).close()
        if not running:
            continue
        sizes.add(len(running))
        tokens = [rows[row][1][step - JOINS[row]] for row in running]
        answer = context.decode(list(running.values()), tokens)
        for row, one in zip(running, answer, strict=True):
            logits[row].append(one.tobytes())
    return logits, sizes


def run(setup: Setup) -> Iterator[Check]:
    rows = []
    for row, (length, count) in enumerate(zip(PROMPTS, STEPS, strict=True)):
        ids = setup.ids[1000 * row :]
        rows.append((ids[:length], ids[length : length + count]))
    for artifact in ("dense", "mixed"):
        context = setup.load(artifact).context(max_sequences=len(rows), threads=setup.threads)
        expected = [alone(context, *row) for row in rows]
        got, sizes = together(context, rows)
        total = sum(len(steps) for steps in expected)
        wrong = [
            (row, step)
            for row, steps in enumerate(expected)
            for step, one in enumerate(steps)
            if len(got[row]) != len(steps) or got[row][step] != one
        ]
        figures = f"{total - len(wrong)} of {total} logits equal, batches of {sorted(sizes)}"
        if wrong:
            figures += f", first wrong: sequence {wrong[0][0]}, step {wrong[0][1]}"
        yield Check(f"batch of {len(rows)}, {artifact}", not wrong, figures)
