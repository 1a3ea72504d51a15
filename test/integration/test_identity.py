"""A policy whose budget holds the whole context changes no bit of any logit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import road
import sparse_opt
from road import GQA3, POLICIES, rules

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


def test_a_smaller_budget_does_change_bits(tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    dense = compiled(model, "--page=4")
    sparse = compiled(model, policy=POLICIES["quest"], buckets=road.EVERY_BUCKET)
    ids = model.ids(1, 40)
    same = (logits(sparse, ids, 1) == logits(dense, ids, 1)).all(axis=-1)
    # Four pages hold 16 tokens; the token after them is the first that reads less than everything.
    assert same[:16].all()
    assert not same[16:].any()
