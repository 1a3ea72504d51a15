"""Caches of codes answer what the NumPy oracle answers, alone and under every other method.

A number that lies between two codes may become either: f32 sums and the oracle's differ in their last bits. One such channel
of one slot changes logits by a small part of what coding all of them changes, so the tolerance is a tenth of that.
"""

import random
from collections.abc import Callable

import numpy as np
import policy_draws
import pytest
import road
import sparse_opt
from oracles.model import Decoder
from oracles.policy_file import parse_policies
from road import GQA2, GQA3, rules
from test_policies import oracle

# Ten layers and five models with six lengths: 300 cases.
LAYERS, PAGE, LENGTHS = 10, 4, 6
# Rules with quantize, which a test takes away to see what it changes.
CASES = {
    "int8": (GQA2, ["layers: all, kv: {quantize: {}}"]),
    "fp8": (GQA2, ["layers: all, kv: {quantize: {format: fp8}}"]),
    "some-layers": (GQA3, ["layers: 1-, kv: {quantize: {}}"]),
    "quest": (GQA3, ["layers: 1-, attention: {page_topk: {page: 4, budget: 16}}", "layers: all, kv: {quantize: {}}"]),
    "h2o": (GQA3, ["layers: all, kv: {h2o: {heavy: 9, recent: 9}, quantize: {format: fp8}}"]),
    "streaming": (GQA3, ["layers: all, kv: {streaming: {sinks: 2, window: 11, heads: [1]}, quantize: {}}"]),
    "cam": (
        GQA3,
        [
            "layers: all, kv: {h2o: {heavy: 9, recent: 9, prefill: chunked}, cam: {followers: 4, mode: expectation}, "
            "quantize: {}}"
        ],
    ),
    "d2o-under-quest": (
        GQA3,
        [
            "layers: all, attention: {page_topk: {page: 4, budget: 16}}",
            "layers: all, kv: {d2o: {heavy: 9, recent: 9}, quantize: {}}",
        ],
    ),
}


def without(policies: list) -> list:
    return [type(policy)(**{**vars(policy), "quantize": None}) for policy in policies]


@pytest.mark.parametrize("name", CASES)
def test_codes_equal_their_oracle(name: str, tiny: Callable, compiled: Callable) -> None:
    config, lines = CASES[name]
    model, policy = tiny(config, 3), rules(*lines)
    artifact = compiled(model, policy=policy)
    for prefill, length in ((50, 130), (3, 60)):
        ids = model.ids(length, 1, length)
        expected = oracle(model, policy, ids, prefill, road.CHUNK)
        plain = without(parse_policies(policy, config.layers, config.kv_heads))
        change = np.abs(expected - np.stack([Decoder(model.network, plain).run(ids[0], prefill, road.CHUNK)])).max()
        assert change > 1e-2, "coding changes nothing here"
        road.verify(artifact, ids, expected, prefill, float(change) / 10)


@pytest.mark.parametrize("group", [1, 2, 3, 4, 8])
def test_random_codes_in_each_layer(group: int, tiny: Callable, compiled: Callable) -> None:
    rng, kv_heads = random.Random(f"codes {group}"), policy_draws.KV_HEADS
    config = policy_draws.decoder(LAYERS, group)
    model, chunk = tiny(config, group), rng.choice([5, 6])
    drawn = (policy_draws.coded_layer(rng, layer, PAGE) for layer in range(LAYERS))
    policy = rules(*(rule for layer in drawn for rule in layer))
    print(policy)
    context = sparse_opt.load(compiled(model, f"--page={PAGE}", policy=policy, chunk=chunk)).context(check_counts=True)
    policies, typical = parse_policies(policy, LAYERS, kv_heads), []
    for case, (prefill, length) in enumerate(policy_draws.lengths(rng, LENGTHS)):
        ids = model.ids(case, length)
        expected, plain = (Decoder(model.network, p).run(ids, prefill, chunk) for p in (policies, without(policies)))
        tolerance = float(np.abs(expected - plain).max()) / 10
        with context.sequence() as sequence:
            logits = road.feed(sequence, ids, [prefill] if prefill else [])
        np.testing.assert_allclose(logits, expected, atol=tolerance, rtol=0, err_msg=f"prompt {prefill} of {length}")
        typical.append(np.median(np.abs(logits - expected).max(axis=-1)))
    # A number between two codes is rare, and what it changes lasts; a policy that goes wrong does so at most lengths.
    assert np.median(typical) < 1e-3


def test_the_reference_lowering_equals_the_oracle(tiny: Callable, compiled: Callable) -> None:
    model, policy = tiny(GQA2, 3), rules("layers: all, kv: {quantize: {format: fp8}}")
    ids = model.ids(60, 1, 60)
    expected = oracle(model, policy, ids, 3)
    change = np.abs(expected - oracle(model, rules(), ids, 3)).max()
    road.verify(compiled(model, "--reference", policy=policy), ids, expected, 3, float(change) / 10)


def test_a_page_of_codes_takes_a_byte_for_a_channel(tiny: Callable, compiled: Callable) -> None:
    model = tiny(GQA3, 3)
    used = {}
    for name, policy in {"dense": "", "codes": rules("layers: all, kv: {quantize: {}}")}.items():
        context = sparse_opt.load(compiled(model, policy=policy)).context()
        sequence = context.sequence()
        sequence.prefill(model.ids(1, 100))
        used[name] = context.usage()
    numbers, codes = used["dense"], used["codes"]
    assert codes.page_bytes * 4 == numbers.page_bytes, "f32"
    slots = numbers.page_bytes // (2 * 4 * GQA3.head_dim)
    assert codes.kv_bytes - codes.page_bytes == numbers.kv_bytes - numbers.page_bytes + 4 * slots, "two scales"
