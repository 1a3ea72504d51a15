"""Evicted tokens merge into those that stay: artifacts against the oracles, many small cases on every kind of group.

A layer of an artifact has a policy of its own (test/merging_policies.py), and every policy is tried with prompts of several
lengths: four layers, eight prompts and ten models make 320 cases a method.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import road
import sparse_opt
from merging_policies import LAYERS, METHODS, PAGE, MergingCase
from oracles.model import Decoder, LayerPolicy
from oracles.policy_file import parse_policies
from road import GQA3, rules

# Tokens of the prompt, and in all.
LENGTHS = ((0, 60), (3, 50), (17, 70), (18, 60), (40, 41), (50, 90), (75, 100), (100, 104))


def check(artifact: Path, model: road.TinyModel, policy: str, ids: np.ndarray, prefill: int, chunk: int) -> int:
    """Logits and counters are those of the oracle; gives the number of merged tokens."""
    policies = parse_policies(policy, model.config.layers, model.config.kv_heads)
    oracle = Decoder(model.network, policies)
    expected = oracle.run(ids, prefill, chunk)
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        logits = road.feed(sequence, ids, [prefill] if prefill else [])
        counted = [layer.get("merged", 0) for layer in sequence.counters()]
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)
    assert counted == [sum(heads) for heads in oracle.merged]
    return sum(counted)


@pytest.mark.parametrize("index", range(10))
@pytest.mark.parametrize("method", METHODS)
def test_random_policies_equal_their_oracle(method: str, index: int, tiny: Callable, compiled: Callable) -> None:
    case = MergingCase.draw(method, index)
    model = tiny(case.config, index)
    print(case.policy)
    artifact = compiled(model, f"--page={PAGE}", policy=case.policy, chunk=case.chunk)
    merged = [check(artifact, model, case.policy, model.ids(n, n), p, case.chunk) for p, n in LENGTHS]
    assert all(merged), "a method here does nothing"


MERGED = {
    "cam": rules(
        "layers: 0, kv: {h2o: {heavy: 9, recent: 9}, cam: {followers: 4, mode: expectation}}",
        "layers: 1, kv: {streaming: {sinks: 2, window: 14}, cam: {followers: 5, seed: 3, heads: [1]}}",
        "layers: 2, attention: {page_topk: {page: 4, budget: 16}}",
        "layers: 2, kv: {h2o: {heavy: 12, recent: 8, prefill: chunked}, cam: {followers: 8, seed: 1}}",
    ),
    # The last layer: each head has its own way.
    "d2o": rules(
        "layers: 0, kv: {d2o: {heavy: 9, recent: 9}}",
        "layers: 1, attention: {page_topk: {page: 4, budget: 16}}",
        "layers: 1, kv: {d2o: {heavy: 12, recent: 8, mode: convex, prefill: chunked}}",
        "layers: 2, kv: {d2o: {heavy: 9, recent: 7, merge_keys: false, heads: [0]}, "
        "h2o: {heavy: 8, recent: 8, heads: [1]}, cam: {followers: 3, heads: [1]}}",
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_forks_are_single_runs(method: str, tiny: Callable, compiled: Callable) -> None:
    """Rows of a batch, a fork that goes on by itself, and a second request: bit for bit what one sequence alone answers."""
    model = tiny(GQA3, 3)
    artifact = compiled(model, policy=MERGED[method], buckets=road.EVERY_BUCKET)
    context = sparse_opt.load(artifact).context(check_counts=True)
    rows = [model.ids(seed, 70) for seed in range(3)]

    def alone(ids: np.ndarray, prefill: int) -> np.ndarray:
        with context.sequence() as sequence:
            return road.feed(sequence, ids, [prefill])[prefill:]

    expected = [alone(row, 30) for row in rows]
    np.testing.assert_array_equal(alone(rows[0], 30), expected[0])

    sequences = [context.sequence() for _ in rows]
    for sequence, row in zip(sequences, rows, strict=True):
        sequence.prefill(row[:30])
    for step in range(40):
        logits = context.decode(sequences, [int(row[30 + step]) for row in rows])
        for got, want in zip(logits, expected, strict=True):
            np.testing.assert_array_equal(got, want[step])
        if step == 20:
            fork = sequences[0].fork()
            ahead = [fork.decode(int(token)) for token in rows[0][51:]]
            np.testing.assert_array_equal(ahead, expected[0][21:])
            fork.close()


@pytest.mark.parametrize("method", METHODS)
def test_fused_and_reference_kernels_agree(method: str, tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    artifact = compiled(model, "--reference", policy=MERGED[method])
    assert check(artifact, model, MERGED[method], model.ids(1, 60), 30, road.CHUNK)
    artifact = compiled(model, policy=MERGED[method], buckets=road.EVERY_BUCKET)
    # A prompt after decode steps finds its slots out of order.
    ids = model.ids(1, 90)
    policies = parse_policies(MERGED[method], GQA3.layers, GQA3.kv_heads)
    oracle = Decoder(model.network, policies)
    expected = np.concatenate([oracle.run(ids[:50], 30, road.CHUNK), oracle.run(ids[50:], 25, road.CHUNK)])
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        logits = [road.feed(sequence, ids[:50], [30]), road.feed(sequence, ids[50:], [25])]
    np.testing.assert_allclose(np.concatenate(logits), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head_dim", [16, 24])
@pytest.mark.parametrize("method", METHODS)
def test_bf16_caches_merge_too(
    method: str, head_dim: int, tiny: Callable, compiled: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(dataclasses.replace(GQA3, head_dim=head_dim), 3)
    artifact = compiled(model, "--kv-dtype=bf16", policy=MERGED[method])
    ids = model.ids(1, 70)
    monkeypatch.setattr(LayerPolicy, "stored", lambda _, rows: road.as_bf16(rows))
    expected = Decoder(model.network, parse_policies(MERGED[method], GQA3.layers, GQA3.kv_heads)).run(ids, 6, 6)
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        logits = road.feed(sequence, ids, [6])
        assert all(layer["merged"] for layer in sequence.counters())
    # A number between two bf16 may be rounded to either.
    np.testing.assert_allclose(logits, expected, atol=0.02)
