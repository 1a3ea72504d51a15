"""A sequence gets the same logits, bit for bit, in whatever company it decodes (R16)."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sparse_opt
from road import EVERY_BUCKET, GQA3, POLICIES

PROMPTS = (1, 5, 8, 13, 31, 47, 64, 90)
STEPS = 40


def alone(artifact: Path, ids: np.ndarray, prompt: int) -> np.ndarray:
    """Logits after the prompt and after each later token."""
    context = sparse_opt.load(artifact).context(max_sequences=1, check_counts=True)
    with context.sequence() as sequence:
        rows = [sequence.prefill(ids[:prompt])]
        rows += [sequence.decode(int(token)) for token in ids[prompt:]]
    return np.array(rows)


@pytest.mark.parametrize("name", POLICIES)
def test_ragged_batch_equals_singles(name: str, tiny: Callable, compiled: Callable) -> None:
    """Eight sequences join and leave; each step decodes those that are there, in any order, in every bucket."""
    model = tiny(GQA3, 3)
    artifact = compiled(model, policy=POLICIES[name], buckets=EVERY_BUCKET)
    texts = [model.ids(prompt, prompt + STEPS) for prompt in PROMPTS]
    expected = [alone(artifact, ids, prompt) for ids, prompt in zip(texts, PROMPTS, strict=True)]

    rng = np.random.default_rng(11)
    context = sparse_opt.load(artifact).context(max_sequences=8, check_counts=True)
    running: dict[int, sparse_opt.Sequence] = {}
    done = dict.fromkeys(range(8), 0)
    waiting = list(rng.permutation(8))
    batches = set()
    while waiting or running:
        if waiting and (len(running) < 2 or rng.random() < 0.3):
            index = int(waiting.pop())
            running[index] = context.sequence()
            first = running[index].prefill(texts[index][: PROMPTS[index]])
            np.testing.assert_array_equal(first, expected[index][0], f"prompt of sequence {index}")
        here = [int(i) for i in rng.permutation(list(running)) if rng.random() < 0.8]
        if not here:
            continue
        batches.add(len(here))
        tokens = [int(texts[i][PROMPTS[i] + done[i]]) for i in here]
        rows = context.decode([running[i] for i in here], tokens)
        for index, row in zip(here, rows, strict=True):
            done[index] += 1
            np.testing.assert_array_equal(row, expected[index][done[index]], f"sequence {index}, step {done[index]}")
            if done[index] == STEPS:
                running.pop(index).close()
    assert {1, 2, 3, 4, 5} <= batches
    assert context.usage().pages == 0


def test_all_eight_at_once(tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    artifact = compiled(model, policy=POLICIES["mixed"], buckets=EVERY_BUCKET)
    texts = [model.ids(prompt, prompt + 5) for prompt in PROMPTS]
    expected = [alone(artifact, ids, prompt) for ids, prompt in zip(texts, PROMPTS, strict=True)]
    context = sparse_opt.load(artifact).context(max_sequences=8, check_counts=True)
    sequences = [context.sequence() for _ in PROMPTS]
    for sequence, ids, prompt in zip(sequences, texts, PROMPTS, strict=True):
        sequence.prefill(ids[:prompt])
    for step in range(5):
        rows = context.decode(sequences, [int(ids[p + step]) for ids, p in zip(texts, PROMPTS, strict=True)])
        np.testing.assert_array_equal(rows, [e[step + 1] for e in expected])


@pytest.mark.parametrize("name", POLICIES)
def test_alone_in_company_and_in_another_order(name: str, tiny: Callable, compiled: Callable) -> None:
    """Each trial decodes forks of some sequences one by one, together, and together in another order."""
    model = tiny(GQA3, 3)
    artifact = compiled(model, policy=POLICIES[name], buckets=EVERY_BUCKET)
    context = sparse_opt.load(artifact).context(max_sequences=16, check_counts=True)
    sequences = [context.sequence() for _ in PROMPTS]
    for index, (sequence, prompt) in enumerate(zip(sequences, PROMPTS, strict=True)):
        sequence.prefill(model.ids(index, prompt))
    rng = np.random.default_rng(23)
    trials = (2000 if os.environ.get("SPARSE_TEST_LONG") else 200) // len(POLICIES)
    for trial in range(trials):
        some = rng.permutation(8)[: rng.integers(1, 9)]
        tokens = rng.integers(0, GQA3.vocab, 8)

        def decode(order: list[int], tokens: np.ndarray = tokens) -> dict[int, np.ndarray]:
            forks = [sequences[i].fork() for i in order]
            rows = context.decode(forks, [int(tokens[i]) for i in order])
            for fork in forks:
                fork.close()
            return dict(zip(order, rows, strict=True))

        alone = {int(i): decode([int(i)])[int(i)] for i in some}
        together = decode([int(i) for i in some])
        permuted = decode([int(i) for i in rng.permutation(some)])
        for i, row in alone.items():
            np.testing.assert_array_equal(together[i], row, f"trial {trial}, sequence {i} of {some}")
            np.testing.assert_array_equal(permuted[i], row, f"trial {trial}, sequence {i} of {some}, permuted")
        # On to other lengths, until the longest is at the end of its context.
        if max(len(sequence) for sequence in sequences) < GQA3.max_positions - 1:
            context.decode(sequences, [int(token) for token in tokens])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int, tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    artifact = compiled(model, policy=POLICIES["mixed"], buckets=EVERY_BUCKET)
    ids = model.ids(7, 31 + STEPS)
    context = sparse_opt.load(artifact).context(max_sequences=1, threads=threads)
    with context.sequence() as sequence:
        rows = [sequence.prefill(ids[:31])] + [sequence.decode(int(token)) for token in ids[31:]]
    np.testing.assert_array_equal(rows, alone(artifact, ids, 31))
