"""A policy whose budget holds the whole context changes no bit of any logit (R10)."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import road
import sparse_opt
from road import GQA2, GQA3, POLICIES, rules

CONTEXT = GQA3.max_positions
# A method a layer: one wrong bit in any of them shows in the logits.
LAYERS = {
    "alone": (
        "layers: 0, attention: {{page_topk: {{page: {page}, budget: 512}}}}",
        "layers: 1, kv: {{streaming: {{sinks: 4, window: 508}}}}",
        "layers: 2, kv: {{h2o: {{heavy: 256, recent: 256}}}}",
    ),
    "chunked": (
        "layers: all, attention: {{page_topk: {{page: {page}, budget: 512}}}}",
        "layers: 0-1, kv: {{h2o: {{heavy: 256, recent: 256, prefill: chunked}}}}",
        "layers: 2, kv: {{h2o: {{heavy: 511, recent: 1, prefill: chunked}}}}",
    ),
    "merging": (
        "layers: all, attention: {{page_topk: {{page: {page}, budget: 512}}}}",
        "layers: 0, kv: {{h2o: {{heavy: 256, recent: 256}}, cam: {{followers: 4, mode: expectation}}}}",
        "layers: 1, kv: {{streaming: {{sinks: 4, window: 508}}, cam: {{}}}}",
        "layers: 2, kv: {{h2o: {{heavy: 256, recent: 256, prefill: chunked}}, cam: {{heads: [1]}}}}",
    ),
    "d2o": (
        "layers: all, attention: {{page_topk: {{page: {page}, budget: 512}}}}",
        "layers: 0, kv: {{d2o: {{heavy: 256, recent: 256}}}}",
        "layers: 1, kv: {{d2o: {{heavy: 256, recent: 256, prefill: chunked, mode: convex}}}}",
        "layers: 2, kv: {{d2o: {{heavy: 256, recent: 256, merge_keys: false, heads: [0]}}}}",
    ),
    "stacked": (
        "layers: all, attention: {{page_topk: {{page: {page}, budget: 512, per_query_head: true, sinks: 5}}}}",
        "layers: 1, kv: {{streaming: {{sinks: 4, window: 508, heads: [1]}}}}",
        "layers: 2, kv: {{h2o: {{heavy: 256, recent: 256, heads: [0]}}}}",
    ),
}


def logits(artifact: Path, ids: np.ndarray, prefill: int) -> np.ndarray:
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        return road.feed(sequence, ids, [prefill])


@pytest.mark.parametrize("page", [16, 32])
@pytest.mark.parametrize("name", LAYERS)
def test_budget_of_the_whole_context(name: str, page: int, tiny: Callable, compiled: Callable) -> None:
    """Every length from 1 to 300 in decode steps, and prompts of several lengths up to the whole context."""
    model = tiny(GQA3, 3)
    dense = compiled(model, f"--page={page}")
    sparse = compiled(model, f"--page={page}", policy=rules(*(line.format(page=page) for line in LAYERS[name])))
    for prefill, length in ((1, 300), (7, 40), (8, 30), (131, 200), (300, 330), (500, CONTEXT)):
        ids = model.ids(length, length)
        np.testing.assert_array_equal(logits(sparse, ids, prefill), logits(dense, ids, prefill), f"{prefill}, {length}")


LONG = dataclasses.replace(GQA2, max_positions=2048)
WHOLE = (
    "layers: all, attention: {{page_topk: {{page: {page}, budget: 2048}}}}",
    "layers: 0, kv: {{h2o: {{heavy: 1024, recent: 1024}}}}",
    "layers: 1, kv: {{streaming: {{sinks: 4, window: 2044, heads: [1]}}}}",
)


@pytest.fixture(params=[16, 32, 64])
def pair(request: pytest.FixtureRequest, tiny: Callable, compiled: Callable) -> tuple[road.TinyModel, list[Path]]:
    """A model, and what it is compiled to without a policy and with one that keeps everything."""
    page = request.param
    model = tiny(LONG, 4)
    policy = rules(*(line.format(page=page) for line in WHOLE))
    return model, [
        compiled(model, f"--page={page}", buckets="1,8"),
        compiled(model, f"--page={page}", buckets="1,8", policy=policy),
    ]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_every_length_of_decode_steps(batch: int, pair: tuple[road.TinyModel, list[Path]]) -> None:
    """All lengths from 2 to 2048: each row of a batch walks its own part of them, the first of it as a prompt."""
    model, artifacts = pair
    ids = model.ids(batch, batch, LONG.max_positions)
    part = -(-LONG.max_positions // batch)
    options = {"max_sequences": batch, "threads": 1, "check_counts": True}
    contexts = [sparse_opt.load(artifact).context(**options) for artifact in artifacts]
    running = [[context.sequence() for _ in range(batch)] for context in contexts]
    prompts = [max(1, row * part) for row in range(batch)]
    for row, prompt in enumerate(prompts):
        dense, sparse = (sequences[row].prefill(ids[row, :prompt]) for sequences in running)
        np.testing.assert_array_equal(sparse, dense, f"prompt of {prompt}")
    lengths = set(prompts)
    for step in range(part):
        rows = [row for row in range(batch) if prompts[row] + step < min((row + 1) * part, LONG.max_positions)]
        tokens = [int(ids[row, prompts[row] + step]) for row in rows]
        dense, sparse = (
            context.decode([sequences[row] for row in rows], tokens) if rows else np.zeros(0)
            for context, sequences in zip(contexts, running, strict=True)
        )
        np.testing.assert_array_equal(sparse, dense, f"step {step} of {rows}")
        lengths |= {prompts[row] + step + 1 for row in rows}
    assert lengths == set(range(1, LONG.max_positions + 1))


def test_prompts_of_many_lengths(pair: tuple[road.TinyModel, list[Path]]) -> None:
    """A prompt that grows by 7 tokens at a time (SPARSE_TEST_LONG: by one), with a decode step of a fork at each."""
    model, artifacts = pair
    ids = model.ids(9, LONG.max_positions)
    stride = 1 if os.environ.get("SPARSE_TEST_LONG") else 7
    options = {"max_sequences": 2, "threads": 1, "check_counts": True}
    contexts = [sparse_opt.load(artifact).context(**options) for artifact in artifacts]
    growing = [context.sequence() for context in contexts]
    for start in range(0, LONG.max_positions - stride, stride):
        piece = ids[start : start + stride]
        dense, sparse = (sequence.prefill(piece) for sequence in growing)
        np.testing.assert_array_equal(sparse, dense, f"prompt of {start + stride}")
        rows = []
        for sequence in growing:
            with sequence.fork() as fork:
                rows.append(fork.decode(int(ids[start + stride])))
        np.testing.assert_array_equal(rows[1], rows[0], f"a step after {start + stride}")


def test_a_smaller_budget_does_change_bits(tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    dense = compiled(model, "--page=4")
    sparse = compiled(model, policy=POLICIES["quest"], buckets=road.EVERY_BUCKET)
    ids = model.ids(1, 40)
    same = (logits(sparse, ids, 1) == logits(dense, ids, 1)).all(axis=-1)
    # Four pages hold 16 tokens; the token after them is the first that reads less than everything.
    assert same[:16].all()
    assert not same[16:].any()
