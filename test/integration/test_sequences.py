"""Fork, trim and clear on compiled models: what follows is what a sequence with that history would have got."""

from collections.abc import Callable

import numpy as np
import pytest
import road
import sparse_opt
from road import EVERY_BUCKET, GQA3, POLICIES

KEEPING = ("dense", "quest")


@pytest.fixture
def context(request: pytest.FixtureRequest, tiny: Callable, compiled: Callable) -> sparse_opt.Context:
    artifact = compiled(tiny(GQA3, 3), policy=POLICIES[request.param], buckets=EVERY_BUCKET)
    return sparse_opt.load(artifact).context(max_sequences=4, check_counts=True)


def follow(sequence: sparse_opt.Sequence, ids: np.ndarray) -> np.ndarray:
    return np.array([sequence.decode(int(token)) for token in ids])


@pytest.mark.parametrize("context", POLICIES, indirect=True)
def test_forks_go_their_own_ways(context: sparse_opt.Context, tiny: Callable) -> None:
    model = tiny(GQA3, 3)
    start, one, other = model.ids(1, 41), model.ids(2, 30), model.ids(3, 30)

    def fresh(ids: np.ndarray) -> np.ndarray:
        with context.sequence() as sequence:
            sequence.prefill(start)
            return follow(sequence, ids)

    expected_one, expected_other = fresh(one), fresh(other)
    assert not np.array_equal(expected_one, expected_other)
    sequence = context.sequence()
    sequence.prefill(start)
    fork = sequence.fork()
    for step in range(len(one)):
        rows = context.decode([sequence, fork], [int(one[step]), int(other[step])])
        np.testing.assert_array_equal(rows, [expected_one[step], expected_other[step]])


@pytest.mark.parametrize("length", [1, 8, 16, 21, 40, 55])
@pytest.mark.parametrize("context", KEEPING, indirect=True)
def test_trim_forgets_what_is_behind(length: int, context: sparse_opt.Context, tiny: Callable) -> None:
    """Page bounds of the trimmed tokens must not linger: what follows is small against what was there."""
    model = tiny(GQA3, 3)
    start, rest = model.ids(1, 40), model.ids(4, 40)
    with context.sequence() as sequence:
        sequence.prefill(start)
        follow(sequence, model.ids(3, 30))
        sequence.trim(length)
        assert len(sequence) == length
        trimmed = follow(sequence, rest)
    history = np.concatenate([start, model.ids(3, 30)])[:length]
    with context.sequence() as sequence:
        sequence.prefill(history[:40])
        follow(sequence, history[40:])
        np.testing.assert_array_equal(trimmed, follow(sequence, rest))


@pytest.mark.parametrize("context", ["mixed", "h2o"], indirect=True)
def test_trim_into_evicted_history_is_refused(context: sparse_opt.Context, tiny: Callable) -> None:
    with context.sequence() as sequence:
        sequence.prefill(tiny(GQA3, 3).ids(1, 41))
        with pytest.raises(sparse_opt.FailedPrecondition):
            sequence.trim(30)
        assert len(sequence) == 41


@pytest.mark.parametrize("context", POLICIES, indirect=True)
def test_clear_is_a_fresh_start(context: sparse_opt.Context, tiny: Callable) -> None:
    model = tiny(GQA3, 3)
    ids = model.ids(5, 50)
    with context.sequence() as sequence:
        first = road.feed(sequence, ids, [21])
        sequence.clear()
        assert len(sequence) == 0
        assert sequence.usage().pages == 0
        np.testing.assert_array_equal(road.feed(sequence, ids, [21]), first)


@pytest.mark.parametrize("context", POLICIES, indirect=True)
def test_two_prompts_with_a_turn_between(context: sparse_opt.Context, tiny: Callable) -> None:
    """A chat: prompt, answer, prompt again. The second prompt's cuts do not matter to dense and to Quest."""
    model = tiny(GQA3, 3)
    first, answer, second, rest = (model.ids(seed, n) for seed, n in ((1, 19), (2, 11), (3, 27), (4, 20)))
    results = []
    for cut in (27, 5):
        with context.sequence() as sequence:
            sequence.prefill(first)
            follow(sequence, answer)
            sequence.prefill(second[:cut])
            if cut < len(second):
                sequence.prefill(second[cut:])
            assert len(sequence) == 57
            results.append(follow(sequence, rest))
    assert np.isfinite(results).all()
    if context.model.policy in ("", None) or "kv" not in context.model.policy:
        np.testing.assert_allclose(results[0], results[1], atol=1e-5, rtol=1e-5)
