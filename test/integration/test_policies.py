"""Sparse artifacts answer what the NumPy oracles answer, position by position: prompt and decode steps.

A token kept or a page read that should not be, or the other way round, shows in the logits of that very step; the tests
of fixed policies also ask that the policy changes the logits by a hundred times the tolerance.
"""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import policy_draws
import pytest
import road
import sparse_opt
from common.config import LlamaConfig
from oracles.model import Decoder
from oracles.policy_file import parse_policies
from road import GQA2, GQA3, POLICIES, rules

MHA4 = LlamaConfig(max_positions=512, layers=3, heads=4, kv_heads=4, hidden=96, vocab=300)
LONG, SHORT = (50, 130), (3, 60)  # tokens of the prompt, and in all
# A layer for each kind of policy, and five models: 300 cases of `page_topk`, of `streaming` and of `h2o`, each a layer's
# policy with a length.
LAYERS, PAGE, LENGTHS = len(policy_draws.KINDS), 4, 20


class Fixed(NamedTuple):
    """A model, a policy, and how long the rows are that it is tried on."""

    config: LlamaConfig
    policy: str
    lengths: tuple[tuple[int, int], ...] = (LONG,)
    chunk: int = road.CHUNK
    buckets: str = "1"


# Three layers are room for three variants in one artifact; each changes the logits.
FIXED = {
    # These are what tests of batches and sequences run with.
    **{
        name: Fixed(GQA3, policy, (LONG, SHORT), buckets=road.EVERY_BUCKET)
        for name, policy in POLICIES.items()
        if policy
    },
    "quest-in-page-16": Fixed(
        GQA2, rules("layers: all, attention: {page_topk: {page: 16, budget: 32}}"), (LONG, SHORT)
    ),
    "quest-modes": Fixed(
        GQA3,
        rules(
            "layers: 0, attention: {page_topk: {page: 4, budget: 13, group: sum}}",
            "layers: 1-, attention: {page_topk: {page: 8, budget: 24, per_query_head: true, sinks: 3}}",
        ),
        ((37, 110),),
    ),
    "streaming-modes": Fixed(
        MHA4,
        rules(
            "layers: 0, kv: {streaming: {sinks: 4, window: 12}}",
            "layers: 1, kv: {streaming: {sinks: 0, window: 7}}",
            "layers: 2, kv: {streaming: {sinks: 2, window: 9, heads: [1, 3]}}",
        ),
        (LONG, SHORT),
    ),
    "h2o-modes": Fixed(
        MHA4,
        rules(
            "layers: 0, kv: {h2o: {heavy: 0, recent: 10}}",
            "layers: 1, kv: {h2o: {heavy: 10, recent: 1}}",
            "layers: 2, kv: {h2o: {heavy: 11, recent: 6, heads: [0, 2]}}",
        ),
        (LONG, SHORT),
    ),
    "h2o-chunked": Fixed(
        GQA3,
        rules(
            "layers: 0, kv: {h2o: {heavy: 9, recent: 9, prefill: chunked}}",
            "layers: 1, kv: {h2o: {heavy: 10, recent: 1, prefill: chunked, heads: [0]}, "
            "streaming: {sinks: 2, window: 9, heads: [1]}}",
            "layers: 2, attention: {page_topk: {page: 4, budget: 16}}",
            "layers: 2, kv: {h2o: {heavy: 16, recent: 8, prefill: chunked}}",
        ),
        (LONG, SHORT, (61, 62)),
    ),
    # Caps that follow the length, reached within the rows and not, in prompts and in steps.
    "h2o-growing": Fixed(
        GQA3,
        rules(
            "layers: 0, kv: {h2o: {heavy: 20, recent: 12, over: 100, least: 6}}",
            "layers: 1, kv: [{h2o: {heavy: 20, recent: 12, over: 301, prefill: chunked, heads: 0}}, "
            "{h2o: {heavy: 9, recent: 9, prefill: chunked, heads: 1}}]",
            "layers: 2, attention: {page_topk: {page: 4, budget: 12}}",
            "layers: 2, kv: {d2o: {heavy: 14, recent: 14, sinks: 3, over: 90}}",
        ),
        (LONG, SHORT, (1, 110), (61, 62)),
    ),
    # Selections of a share of the head: in the growing phase, past it, and over heads that hold less than the sequence.
    "quest-growing": Fixed(
        GQA3,
        rules(
            "layers: 0, attention: {page_topk: {page: 4, budget: 24, over: 100, least: 6}}",
            "layers: 1, attention: {page_topk: {page: 8, budget: 32, over: 70, per_query_head: true, sinks: 3}}",
            "layers: 2, attention: {page_topk: {page: 4, budget: 13, over: 40, group: sum}}",
            "layers: 2, kv: {h2o: {heavy: 20, recent: 12, over: 90, prefill: chunked, heads: [1]}}",
        ),
        (LONG, SHORT, (1, 110), (61, 62)),
        buckets="1,2",
    ),
    # The layers of one artifact are cut at different times.
    "h2o-chunked-and-dense": Fixed(
        GQA2,
        rules(
            "layers: 0, kv: {h2o: {heavy: 9, recent: 9, prefill: chunked}}",
            "layers: 1, kv: {h2o: {heavy: 9, recent: 9}}",
        ),
        (LONG,),
        chunk=16,
    ),
    # Prompts in chunks of twelve take register tiles of four rows.
    "quest-over-h2o-heads": Fixed(
        GQA2,
        rules(
            "layers: 1-, attention: {page_topk: {page: 4, budget: 12, group: sum}}",
            "layers: all, kv: {h2o: {heavy: 16, recent: 9, heads: [1]}}",
        ),
        chunk=12,
    ),
}


def oracle(
    model: road.TinyModel, policy: str, ids: np.ndarray, prefill: int, chunk: int | None = None
) -> np.ndarray:
    """Logits [B, S, V]; `chunk` matters to what cuts a prompt after each of its chunks."""
    policies = parse_policies(policy, model.config.layers, model.config.kv_heads)
    return np.stack([Decoder(model.network, policies).run(row, prefill, chunk) for row in ids])


@pytest.mark.parametrize("name", FIXED)
def test_policy_equals_its_oracle(name: str, tiny: Callable, compiled: Callable) -> None:
    case = FIXED[name]
    model = tiny(case.config, 3)
    artifact = compiled(model, policy=case.policy, chunk=case.chunk, buckets=case.buckets)
    for prefill, length in case.lengths:
        ids = model.ids(length, 1, length)
        expected = oracle(model, case.policy, ids, prefill, case.chunk)
        change = np.abs(expected - oracle(model, rules(), ids, prefill)).max()
        assert change > 1e-2, "this policy does nothing here"
        road.verify(artifact, ids, expected, prefill)


@pytest.mark.parametrize("name", ["streaming-modes", "h2o-modes", "h2o-growing"])
def test_vectors_and_scalars_evict_alike(name: str, tiny: Callable, compiled: Callable, tmp_path: Path) -> None:
    """Statistics and victims are sums and comparisons of the same numbers: not a bit may differ from the reference."""
    case = FIXED[name]
    model = tiny(case.config, 3)
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text("version: 1\nkernels:\n  - {kernel: compress, strategy: reference}\n")
    artifacts = [
        compiled(model, *options, policy=case.policy, chunk=case.chunk, buckets=case.buckets)
        for options in ((), (f"--schedule={schedule}",))
    ]
    for prefill, length in case.lengths:
        ids = model.ids(length, length)
        logits = []
        for artifact in artifacts:
            with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
                logits.append(road.feed(sequence, ids, [prefill]))
        np.testing.assert_array_equal(*logits)


def draw_heads(rng: random.Random, kv_heads: int) -> str:
    if rng.random() < 0.6:
        return ""
    return f", heads: {sorted(rng.sample(range(kv_heads), rng.randint(1, kv_heads)))}"


def draw_policy(rng: random.Random, kv_heads: int, layers: int, page: int) -> str:
    """One or two methods on all layers or some of them."""
    where = ["all", "0"] + (["1-"] if layers > 1 else [])
    kind = rng.choice(["quest", "streaming", "h2o", "quest+streaming", "quest+h2o"])
    lines = []
    heads = draw_heads(rng, kv_heads)
    if "streaming" in kind:
        lines.append(f"layers: {rng.choice(where)}, kv: {{{policy_draws.streaming(rng, heads)}}}")
    if "h2o" in kind:
        lines.append(f"layers: {rng.choice(where)}, kv: {{{policy_draws.h2o(rng, heads)}}}")
    if "quest" in kind:
        lines.append(f"layers: {rng.choice(where)}, attention: {{{policy_draws.page_topk(rng, page)}}}")
    rng.shuffle(lines)
    return rules(*lines)


@pytest.mark.parametrize("seed", range(int(os.environ.get("SPARSE_RANDOM_POLICIES", "8"))))
def test_random_policies_on_random_shapes(seed: int, tiny: Callable, compiled: Callable) -> None:
    """SPARSE_RANDOM_POLICIES=N tries N of them."""
    rng = random.Random(seed)
    kv_heads, group = rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 4, 8])
    config = LlamaConfig(
        layers=rng.choice([1, 2, 3]),
        hidden=rng.choice([48, 72, 96, 100]),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        head_dim=rng.choice([8, 16, 24, 64] if group < 4 else [8, 16]),
        ffn=rng.choice([33, 64, 130]),
        vocab=rng.choice([263, 300, 317, 512]),
        max_positions=512,
        tied=rng.random() < 0.3,
    )
    page = rng.choice([4, 8, 16, 32])
    policy = draw_policy(rng, kv_heads, config.layers, page)
    prefill = rng.choice([1, 2, 7, 15, 16, 17, 31, 48, 65, 100])
    length = prefill + rng.choice([1, 20, 64, 90])
    chunk = rng.choice([1, 5, 6, 6, 31])
    options = [f"--page={page}", *(["--reference"] if rng.random() < 0.15 else [])]
    form = rng.choice(list(road.FORMS))
    print(config, policy, options, form, f"chunk {chunk},", f"prompt {prefill} of {length}")

    model = tiny(config, seed)
    ids = model.ids(seed, 2, length)
    artifact = compiled(model, *options, form=form, policy=policy, chunk=chunk)
    road.verify(artifact, ids, oracle(model, policy, ids, prefill, chunk), prefill)


def acts(oracle: Decoder, layer: int) -> bool:
    """Whether a layer has evicted, or read less than all in its last step."""
    selects = any(trace.pages is not None for trace in oracle.trace[layer])
    return selects or any(len(cache.live) < oracle.length for cache in oracle.caches[layer])


@pytest.mark.parametrize("group", [1, 2, 3, 4, 8])
def test_a_random_policy_in_each_layer(group: int, tiny: Callable, compiled: Callable) -> None:
    rng, kv_heads = random.Random(f"layers {group}"), policy_draws.KV_HEADS
    config = policy_draws.decoder(LAYERS, group)
    model, chunk = tiny(config, group), rng.choice([5, 6])
    drawn = (policy_draws.layer(rng, n, kind, PAGE) for n, kind in enumerate(policy_draws.KINDS))
    policy = rules(*(rule for layer in drawn for rule in layer))
    print(policy)
    context = sparse_opt.load(compiled(model, f"--page={PAGE}", policy=policy, chunk=chunk)).context(check_counts=True)
    policies = parse_policies(policy, LAYERS, kv_heads)
    active = [False] * LAYERS
    for case, (prefill, length) in enumerate(policy_draws.lengths(rng, LENGTHS)):
        ids, decoder = model.ids(case, length), Decoder(model.network, policies)
        expected = decoder.run(ids, prefill, chunk)
        with context.sequence() as sequence:
            logits = road.feed(sequence, ids, [prefill] if prefill else [])
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4, err_msg=f"prompt {prefill} of {length}")
        active = [was or acts(decoder, layer) for layer, was in enumerate(active)]
    assert all(active), "a policy does nothing here"


def slots(sequence: sparse_opt.Sequence) -> list[int]:
    return [layer["slots"] for layer in sequence.counters()]


def test_caps_bound_the_memory(tiny: Callable, compiled: Callable) -> None:
    """Layer 0: streaming, 16 tokens. Layer 1: H2O with 20 on one of two KV heads."""
    model = tiny(GQA2, 3)
    policy = rules(
        "layers: 0, kv: {streaming: {sinks: 4, window: 12}}", "layers: 1, kv: {h2o: {heavy: 12, recent: 8, heads: [1]}}"
    )
    artifact = compiled(model, "--page=4", policy=policy)
    context = sparse_opt.load(artifact).context(check_counts=True)
    with context.sequence() as sequence:
        sequence.prefill(model.ids(1, 100))
        assert slots(sequence) == [2 * 16, 100 + 20]
        for token in model.ids(2, 60):
            sequence.decode(int(token))
        # One slot more than the cap for the token that comes.
        assert slots(sequence) == [2 * 17, 160 + 21]
        usage = sequence.usage()
        page_bytes = 4 * GQA2.head_dim * 2 * 4
        assert usage.page_bytes == (2 * 5 + 160 // 4 + 6) * page_bytes
        assert usage.dense_bytes == 4 * (160 // 4) * page_bytes
    assert context.usage().pages == 0


def test_a_chunked_prompt_never_needs_more_than_budget_and_chunk(tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA2, 3)
    policy = rules("layers: all, kv: {h2o: {heavy: 12, recent: 8, prefill: chunked}}")
    artifact = compiled(model, "--page=4", policy=policy)
    layers = json.loads((artifact / "manifest.json").read_text())["devices"]["cpu"]["cache"]["layers"]
    assert [layer["max_pages"] for layer in layers] == [-(-(20 + road.CHUNK + 2) // 4)] * 2
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        sequence.prefill(model.ids(1, 300))
        assert slots(sequence) == [2 * 20, 2 * 20]
        sequence.decode(1)
        assert slots(sequence) == [2 * 21, 2 * 21]


def test_quest_keeps_every_page(tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    artifact = compiled(model, policy=POLICIES["quest"], buckets=road.EVERY_BUCKET)
    with sparse_opt.load(artifact).context().sequence() as sequence:
        sequence.prefill(model.ids(1, 100))
        assert slots(sequence) == [200, 200, 200]
        assert sequence.usage().pages == sequence.usage().dense_pages
