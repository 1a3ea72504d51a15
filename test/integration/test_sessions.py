"""Sequences that are saved and prompts that begin alike, on compiled models: every bit is that of an undisturbed run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import road
import sparse_opt
from road import EVERY_BUCKET, GQA3, POLICIES

# R17: saved after each of these steps.
STEPS = 20


@pytest.fixture
def artifact(request: pytest.FixtureRequest, tiny: Callable, compiled: Callable) -> Path:
    return compiled(tiny(GQA3, 3), policy=POLICIES[request.param], buckets=EVERY_BUCKET)


def follow(sequence: sparse_opt.Sequence, ids: np.ndarray) -> np.ndarray:
    return np.array([sequence.decode(int(token)) for token in ids])


@pytest.mark.parametrize("artifact", POLICIES, indirect=True)
def test_saved_at_every_step(artifact: Path, tiny: Callable, tmp_path: Path) -> None:
    model = tiny(GQA3, 3)
    prompt, rest = model.ids(1, 41), model.ids(2, 50)
    context = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    with context.sequence() as sequence:
        sequence.prefill(prompt)
        expected = []
        for step, token in enumerate(rest):
            if step < STEPS:
                sequence.save(tmp_path / f"{step}.session", note=bytes([step]))
            expected.append(sequence.decode(int(token)))
    # Another load of the model, and a neighbour that takes the first pages.
    other = sparse_opt.load(artifact).context(max_sequences=3, check_counts=True)
    with other.sequence() as neighbour:
        neighbour.prefill(model.ids(4, 7))
        for step in range(STEPS):
            session = sparse_opt.Session(tmp_path / f"{step}.session")
            assert session.note == bytes([step])
            assert session.tokens == [*prompt, *rest[:step]]
            with other.restore(session) as restored:
                np.testing.assert_array_equal(follow(restored, rest[step:]), expected[step:])


@pytest.mark.parametrize("artifact", POLICIES, indirect=True)
def test_another_prompt_after_a_restore(artifact: Path, tiny: Callable, tmp_path: Path) -> None:
    model = tiny(GQA3, 3)
    context = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    with context.sequence() as sequence:
        sequence.prefill(model.ids(1, 29))
        follow(sequence, model.ids(2, 9))
        sequence.save(tmp_path / "chat.session")
        expected = sequence.prefill(model.ids(3, 31)), follow(sequence, model.ids(4, 20))
    with context.restore(tmp_path / "chat.session") as sequence:
        np.testing.assert_array_equal(sequence.prefill(model.ids(3, 31)), expected[0])
        np.testing.assert_array_equal(follow(sequence, model.ids(4, 20)), expected[1])


@pytest.mark.parametrize("artifact", POLICIES, indirect=True)
def test_prompts_that_begin_alike(artifact: Path, tiny: Callable) -> None:
    """With what was kept and without: the same bits, after the prompt and later."""
    model = sparse_opt.load(artifact)
    ids = tiny(GQA3, 3).ids
    start, rest = ids(1, 210), ids(2, 30)
    # Of the same prompt again, of a longer one, of one that leaves it, and of none.
    prompts = [start[:150], start[:150], start, np.concatenate([start[:150], ids(3, 33)]), start[:101], start[:9]]
    cold, warm = model.context(max_sequences=2), model.context(max_sequences=2, prefix_cache_bytes=1 << 28)
    reused = []
    for prompt in prompts:
        with cold.sequence() as sequence, warm.sequence() as other:
            np.testing.assert_array_equal(other.prefill(prompt), sequence.prefill(prompt))
            np.testing.assert_array_equal(follow(other, rest), follow(sequence, rest))
            reused.append(other.usage().prefix_tokens)
    assert reused[0] == 0
    assert reused[5] == 0, "shorter than a block"
    assert min(reused[1:4]) >= 96
    usage = warm.usage()
    assert usage.prefix_tokens == sum(reused)
    assert usage.pages == usage.prefix_pages
