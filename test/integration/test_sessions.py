"""Sequences that are saved and prompts that begin alike, on compiled models: every bit is that of an undisturbed run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sparse_opt
from road import EVERY_BUCKET, GQA3, POLICIES, rules

# What merges, codes and grows, a method a layer.
RECENT = {
    "merging": rules(
        "layers: 0, kv: {h2o: {heavy: 9, recent: 9}, cam: {followers: 4, seed: 3}}",
        "layers: 1, kv: {d2o: {heavy: 9, recent: 7}}",
        "layers: 2, kv: {d2o: {heavy: 12, recent: 8, mode: convex, prefill: chunked, heads: [1]}}",
    ),
    "codes": rules(
        "layers: 0, kv: {quantize: {}}",
        "layers: 1, attention: {page_topk: {page: 4, budget: 16}}",
        "layers: 1, kv: {d2o: {heavy: 9, recent: 7}, quantize: {format: fp8}}",
        "layers: 2, kv: {h2o: {heavy: 9, recent: 9, prefill: chunked}, cam: {followers: 4, mode: expectation}, "
        "quantize: {format: int8}}",
    ),
    "growing": rules(
        "layers: 0, kv: {h2o: {heavy: 20, recent: 12, over: 120, least: 6}}",
        "layers: 1, kv: {d2o: {heavy: 20, recent: 20, over: 300, prefill: chunked, heads: [0]}}",
        "layers: 2, attention: {page_topk: {page: 4, budget: 24, over: 100}}",
        "layers: 2, kv: {h2o: {heavy: 30, recent: 9, over: 90, prefill: chunked}}",
    ),
}
EVERY = POLICIES | RECENT

# R17: saved after each of these steps.
STEPS = 20


@pytest.fixture
def artifact(request: pytest.FixtureRequest, tiny: Callable, compiled: Callable) -> Path:
    buckets = EVERY_BUCKET if request.param in POLICIES else "1"
    return compiled(tiny(GQA3, 3), policy=EVERY[request.param], buckets=buckets)


def follow(sequence: sparse_opt.Sequence, ids: np.ndarray) -> np.ndarray:
    return np.array([sequence.decode(int(token)) for token in ids])


@pytest.mark.parametrize("artifact", EVERY, indirect=True)
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


@pytest.mark.parametrize("artifact", EVERY, indirect=True)
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


@pytest.mark.parametrize("artifact", RECENT, indirect=True)
def test_a_damaged_session_is_refused(artifact: Path, tiny: Callable, tmp_path: Path) -> None:
    """Whatever byte it is, and also where the file ends early; the context goes on as if nothing had been asked of it."""
    model, path = tiny(GQA3, 3), tmp_path / "whole.session"
    context = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    rest = model.ids(2, 10)
    with context.sequence() as sequence:
        sequence.prefill(model.ids(1, 41))
        sequence.decode(int(rest[0]))
        sequence.save(path)
        pages = context.usage().pages
        whole = path.read_bytes()
        for at in range(20, len(whole), len(whole) // 40):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
            with pytest.raises(sparse_opt.SparseError):
                context.restore(path)
        path.write_bytes(whole[:-70])
        with pytest.raises(sparse_opt.SparseError):
            context.restore(path)
        assert context.usage().pages == pages
        path.write_bytes(whole)
        expected = follow(sequence, rest[1:])
    with context.restore(path) as restored:
        np.testing.assert_array_equal(follow(restored, rest[1:]), expected)


@pytest.mark.parametrize(
    ("kv", "shares"),
    [
        ("quantize: {}", 6),
        ("quantize: {format: fp8}, streaming: {sinks: 2, window: 9, heads: [0]}", 0),
        ("h2o: {heavy: 9, recent: 9, heads: [0]}, cam: {followers: 4, heads: [0]}", 0),
        ("quantize: {}, d2o: {heavy: 9, recent: 9, heads: [0]}", 0),
    ],
)
def test_forks_share_what_nobody_writes(kv: str, shares: int, tiny: Callable, compiled: Callable) -> None:
    """`shares` heads have their full pages in common. Where a head evicts, its layer writes in place: a fork copies all of
    its pages at once, those of the heads that keep everything, too."""
    model = tiny(GQA3, 3)
    artifact = compiled(model, "--page=4", policy=rules(f"layers: all, kv: {{{kv}}}"))
    context = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    rest = model.ids(2, 40), model.ids(3, 40)

    def prompt() -> sparse_opt.Sequence:
        sequence = context.sequence()
        sequence.prefill(model.ids(1, 41))
        return sequence

    expected = []
    for ids in rest:
        with prompt() as sequence:
            expected.append(follow(sequence, ids))
    with prompt() as sequence:
        pages = context.usage().pages
        with sequence.fork() as fork:
            assert context.usage().pages == 2 * pages - shares * (41 // 4)
            # Each step of one may write where the other reads.
            steps = [(sequence.decode(int(a)), fork.decode(int(b))) for a, b in zip(*rest, strict=True)]
    np.testing.assert_array_equal([one for one, _ in steps], expected[0])
    np.testing.assert_array_equal([two for _, two in steps], expected[1])


@pytest.mark.parametrize("artifact", EVERY, indirect=True)
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
