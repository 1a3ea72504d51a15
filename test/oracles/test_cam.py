"""Properties of CaM: methods.md §8.5, and its edges (§8.2)."""

import numpy as np
import pytest
from oracles.cam import Cam, merged_values, philox, probability, shares, uniform
from oracles.dense import Network
from oracles.h2o import H2O
from oracles.model import Decoder, LayerPolicy
from oracles.page_topk import PageTopK
from oracles.streaming import Streaming

BASES = {
    "h2o": H2O(10, 6),
    "chunked": H2O(10, 6, "chunked"),
    "streaming": Streaming(2, 14),
}


def one_victim(policy: Cam, mass: np.ndarray, values: np.ndarray, victim: int) -> np.ndarray:
    """The values after slot `victim` of slots in order of position went."""
    slots = np.arange(len(mass))
    merges = shares(policy, mass, slots, np.array([victim]), np.delete(slots, victim), 0, 0)
    return merged_values(values, merges)


def test_philox_gives_the_published_words() -> None:
    """Known answers of Random123 (kat_vectors, philox4x32 10)."""
    ones = 0xFFFFFFFF
    assert philox((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox((ones,) * 4, (ones,) * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox(pi, (0xA4093822, 0x299F31D0)) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_uniform_numbers_are_uniform_and_depend_on_everything() -> None:
    draws = np.array([uniform(1, 2, 0, position) for position in range(10000)])
    assert draws.min() >= 0
    assert draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=0.015)
    assert draws.var() == pytest.approx(1 / 12, abs=0.005)
    assert len({uniform(*(1 if i == j else 0 for j in range(4))) for i in range(5)}) == 5


@pytest.mark.parametrize(
    ("own", "followers", "expected"),
    [
        (1.0, [2.0, 2], 0.5),
        (3.0, [1.0, 1], 1),
        (0.0, [1.0, 1], 0),
        (0.5, [0.0, 0], 1),  # a mean of 0 takes what had any attention
        (0.0, [0.0, 0], 0),
    ],
)
def test_probability(own: float, followers: list[float], expected: float) -> None:
    assert probability(own, np.array(followers)) == expected


def test_no_attention_is_plain_eviction(rng: np.random.Generator) -> None:
    values, mass = rng.standard_normal((9, 4)), np.ones(9)
    mass[3] = 0
    for mode in ("bernoulli", "expectation"):
        np.testing.assert_array_equal(one_victim(Cam(4, mode), mass, values, 3), values)


def test_full_merge_of_equal_values(rng: np.random.Generator) -> None:
    values = np.repeat(rng.standard_normal((1, 4)), 9, axis=0)
    after = one_victim(Cam(5, "expectation"), np.ones(9), values, 2)
    np.testing.assert_allclose(after[3:8], values[3:8] * (1 + 1 / 5))
    # Nothing but the followers changes, not by a bit.
    np.testing.assert_array_equal(after[[0, 1, 2, 8]], values[[0, 1, 2, 8]])


def test_fewer_followers_share_it_all(rng: np.random.Generator) -> None:
    values = rng.standard_normal((6, 4))
    after = one_victim(Cam(32, "expectation"), np.ones(6), values, 3)
    np.testing.assert_allclose(after[4:], values[4:] + values[3] / 2)
    np.testing.assert_array_equal(one_victim(Cam(32, "expectation"), np.ones(6), values, 5), values)


def test_followers_are_by_position_not_by_slot() -> None:
    positions, values = np.array([30, 7, 9, 40, 8]), np.eye(5)
    merges = shares(Cam(2, "expectation"), np.ones(5), positions, np.array([1]), np.array([0, 2, 3, 4]), 0, 0)
    (slot, following, factor) = merges[0]
    assert (slot, list(following), factor) == (1, [4, 2], 0.5)
    np.testing.assert_array_equal(merged_values(values, merges)[:, 1], [0, 1, 0.5, 0, 0.5])


def test_bernoulli_has_the_mean_of_the_expectation(rng: np.random.Generator) -> None:
    """Within three standard deviations over 1e5 positions, which are as many draws."""
    mass, draws = np.array([0.3, 1.0, 0.7, 1.3]), 100_000
    p = probability(mass[0], mass[1:])
    hits = sum(uniform(7, 3, 1, position) < p for position in range(draws))
    assert abs(hits / draws - p) < 3 * np.sqrt(p * (1 - p) / draws)


def test_expectation_is_unbiased_where_it_is_not_clamped(rng: np.random.Generator) -> None:
    """With A the weights of one query: the output before renormalisation changes by 0 (methods.md §8.1)."""
    for _ in range(100):
        weights = rng.dirichlet(np.ones(12))
        values, victim, m = rng.standard_normal((12, 4)), int(rng.integers(0, 11)), int(rng.integers(1, 12))
        followers = weights[victim + 1 : victim + 1 + m]
        after = one_victim(Cam(m, "expectation"), weights, values, victim)
        change = np.delete(weights, victim) @ np.delete(after, victim, axis=0) - weights @ values
        if weights[victim] <= followers.mean():
            np.testing.assert_allclose(change, 0, atol=1e-12)
        else:
            np.testing.assert_allclose(change, (followers.mean() - weights[victim]) * values[victim], atol=1e-12)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("mode", ["bernoulli", "expectation"])
def test_keys_and_kept_sets_of_the_first_layer_are_those_of_the_base(
    network: Network, ids: np.ndarray, base: str, mode: str
) -> None:
    """The values of the first layer reach no query of it: what it keeps is what its base keeps."""
    plain, merging = (Decoder(network, LayerPolicy(kv=BASES[base], merge=merge)) for merge in (None, Cam(4, mode)))
    for decoder in (plain, merging):
        decoder.prefill(ids[:40], 9)
    for token in ids[40:]:
        plain.decode(int(token))
        merging.decode(int(token))
        for one, other in zip(plain.trace[0], merging.trace[0], strict=True):
            np.testing.assert_array_equal(one.slots, other.slots)
    for one, other in zip(plain.caches[0], merging.caches[0], strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        assert np.abs(one.values - other.values).max() > 1e-3
    assert sum(map(sum, plain.merged)) == 0
    evictions = len(ids) - 16
    assert all(0 < merged <= evictions for layer in merging.merged for merged in layer)


@pytest.mark.parametrize("mode", ["bernoulli", "expectation"])
def test_budget_of_the_context_is_dense(network: Network, ids: np.ndarray, mode: str) -> None:
    policy = LayerPolicy(kv=H2O(45, 30), merge=Cam(8, mode))
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 30), Decoder(network).run(ids, 30))
    less = [LayerPolicy(kv=H2O(10, 6), merge=merge) for merge in (Cam(8, mode), None)]
    one, other = (Decoder(network, policy).run(ids, 30) for policy in less)
    assert np.abs(one - other).max() > 1e-3


def test_seeds_and_requests(network: Network, ids: np.ndarray) -> None:
    def run(seed: int) -> np.ndarray:
        return Decoder(network, LayerPolicy(kv=H2O(10, 6), merge=Cam(4, "bernoulli", seed))).run(ids, 30)

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3


def test_page_bounds_know_nothing_of_values(network: Network, ids: np.ndarray) -> None:
    attention, kv = PageTopK(page=4, budget=12), H2O(12, 8)
    plain, merging = (Decoder(network, LayerPolicy(attention, kv, merge=merge)) for merge in (None, Cam(4)))
    plain.run(ids, 30)
    merging.run(ids, 30)
    for one, other in zip(plain.caches[0], merging.caches[0], strict=True):
        np.testing.assert_array_equal(one.high, other.high)
        np.testing.assert_array_equal(one.low, other.low)


def test_parameters() -> None:
    with pytest.raises(ValueError, match="positive"):
        Cam(0)
    with pytest.raises(ValueError, match="bernoulli or expectation"):
        Cam(mode="sometimes")
