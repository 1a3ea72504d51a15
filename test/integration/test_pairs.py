"""Policies beside each other: every pair is what the legality matrix says it is, and a legal one is what its oracle computes.

Each layer of a model has a pair of its own, so that a few artifacts hold all of them (R25).
"""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import policy_pairs
import pytest
import road
import sparse_opt
from common.config import LlamaConfig
from oracles.model import Decoder
from oracles.policy_file import parse_policies
from policy_pairs import EVICTING, MERGING, Case, Matrix, Use

LAYERS = 6
CONFIG = LlamaConfig(layers=LAYERS, heads=4, kv_heads=policy_pairs.KV_HEADS, head_dim=8, hidden=48, ffn=64, vocab=263,
                     max_positions=256)  # fmt: skip
PROMPT, LENGTH = 47, 80
SEED, TRIPLES = 5, 40


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    done = road.run(road.SPARSE_OPT, "list-policies", "--matrix", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model(tiny: Callable) -> road.TinyModel:
    return tiny(CONFIG, 1)


def activity(use: Use, oracle: Decoder, layer: int) -> int:
    """How often a method did something: tokens that it evicted or merged, pages that it left out in the last step."""
    heads = [(head, oracle.caches[layer][head], oracle.trace[layer][head]) for head in use.heads]
    done = 0
    if use.method in EVICTING:
        done += sum(oracle.length - len(cache.live) for _, cache, _ in heads)
    if use.method in MERGING:
        done += sum(oracle.merged[layer][head] for head, _, _ in heads)
    if use.method == "page_topk":
        done += sum(-(-cache.extent // cache.page) - len(trace.pages[0]) for _, cache, trace in heads if trace.pages)
    return done


def check(cases: list[Case], model: road.TinyModel, compiled: Callable) -> None:
    """One artifact with a case in each layer answers what the oracle does, and keeps and merges as many tokens.

    Codes between two numbers may become either (test_quantize.py): what they change is known within a tenth.
    """
    policy = road.rules(*(case.rules(layer) for layer, case in enumerate(cases)))
    policies = parse_policies(policy, LAYERS, CONFIG.kv_heads)
    artifact = compiled(model, f"--page={policy_pairs.PAGE}", policy=policy)
    oracle = Decoder(model.network, policies)
    ids = model.ids(2, LENGTH)
    expected = oracle.run(ids, PROMPT, road.CHUNK)
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        logits = road.feed(sequence, ids, [PROMPT])
        counters = sequence.counters()
    tolerance, is_coded = 1e-4, any(case.is_coded for case in cases)
    if is_coded:
        plain = Decoder(model.network, [replace(layer, quantize=None) for layer in policies])
        change = float(np.abs(expected - plain.run(ids, PROMPT, road.CHUNK)).max())
        assert change > 1e-2, "codes change nothing"
        tolerance = change / 10
    np.testing.assert_allclose(logits, expected, atol=tolerance, rtol=tolerance, err_msg=policy)
    for layer, case in enumerate(cases):
        counted = counters[layer]
        assert counted["slots"] == sum(cache.extent for cache in oracle.caches[layer]), case.name
        merged = sum(oracle.merged[layer])
        assert (counted.get("merged", 0) > 0) == (merged > 0), case.name
        assert is_coded or counted.get("merged", 0) == merged, case.name
        for use in case.uses:
            assert use.method == "quantize" or activity(use, oracle, layer) > 0, f"{use.method} does nothing in {case.name}"


def test_legal_pairs_equal_their_oracle(matrix: Matrix, model: road.TinyModel, compiled: Callable) -> None:
    cases = policy_pairs.legal_layers(matrix)
    assert len(cases) >= 15
    for group in policy_pairs.in_groups(cases, LAYERS):
        print("; ".join(case.name for case in group))
        check(group, model, compiled)


def test_other_pairs_are_refused_with_the_reason_of_the_matrix(matrix: Matrix, model: road.TinyModel) -> None:
    refused = [case for case in (*policy_pairs.single(matrix), *policy_pairs.pairs(matrix)) if case.reason]
    assert len(refused) >= 15
    for case in refused:
        done = refuse(case, model)
        assert done.endswith(case.reason), case.name


def refuse(case: Case, model: road.TinyModel) -> str:
    """What a compilation says first; it must end with the exit code of bad input."""
    policy = road.policy_option(model.folder / "policies", road.rules(case.rules("all")))
    done = road.run(road.SPARSE_OPT, "compile", model.onnx(), "-o", model.folder / "none.spx", policy)
    assert done.returncode == 3, f"{case.name}: exit code {done.returncode}: {done.stderr}"
    return done.stderr.splitlines()[0]


def test_triples_run_or_are_refused(matrix: Matrix, model: road.TinyModel, compiled: Callable) -> None:
    """The compiler and the oracles agree on which of a sample are legal; the legal ones equal their oracle."""
    print(f"seed {SEED}")
    legal: list[Case] = []
    for case in policy_pairs.triples(matrix, SEED, TRIPLES):
        try:
            parse_policies(road.rules(case.rules(0)), 1, CONFIG.kv_heads)
        except ValueError:
            assert "error: " in refuse(case, model), case.name
        else:
            legal.append(case)
    distinct = list({case.rules(0): case for case in legal}.values())
    assert len(distinct) >= LAYERS, f"only {len(distinct)} of {TRIPLES} are legal"
    for group in policy_pairs.in_groups(sorted(distinct[: 2 * LAYERS], key=lambda case: case.is_coded), LAYERS):
        print("; ".join(case.name for case in group))
        check(group, model, compiled)
