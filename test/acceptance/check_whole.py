"""A budget of at least the context gives, bit for bit, the logits of the dense artifact.

One sequence is decoded token by token through every length from 1 to 300, then grows to 31 lengths drawn at random up
to 4,000, by a piece of prompt and a decode step each; logits are compared after every piece and every step.
"""

from collections.abc import Iterator

import numpy as np
from report import Check
from setup import Setup

EACH, LONGEST, DRAWN, SEED = 300, 4000, 31, 3
DENSE = {16: "dense", 32: "dense-page32"}
METHODS = ("page_topk", "h2o", "streaming")


def lengths() -> list[int]:
    drawn = np.random.default_rng(SEED).choice(np.arange(EACH + 3, LONGEST + 1, 2), DRAWN, replace=False)
    return sorted(int(length) for length in drawn)


def logits_by_length(setup: Setup, artifact: str) -> dict[str, bytes]:
    ids = setup.ids
    context = setup.load(artifact).context(max_sequences=1, threads=setup.threads)
    result = {}
    with context.sequence() as sequence:
        for length in range(1, EACH + 1):
            result[f"decode to {length}"] = sequence.decode(ids[length - 1]).tobytes()
        for length in lengths():
            result[f"prompt to {length - 1}"] = sequence.prefill(ids[len(sequence) : length - 1]).tobytes()
            result[f"decode to {length}"] = sequence.decode(ids[length - 1]).tobytes()
    return result


def run(setup: Setup, page: int) -> Iterator[Check]:
    expected = logits_by_length(setup, DENSE[page])
    for method in METHODS:
        got = logits_by_length(setup, f"whole-{method}-page{page}")
        wrong = [step for step in expected if got[step] != expected[step]]
        figures = f"{len(expected) - len(wrong)} of {len(expected)} equal"
        if wrong:
            difference = max(
                np.abs(np.frombuffer(got[step], "f4") - np.frombuffer(expected[step], "f4")).max() for step in wrong
            )
            figures += f", first wrong: {wrong[0]}, largest difference {difference:.1e}"
        yield Check(f"whole budget, {method}, page {page}", not wrong, figures)
