"""Properties of D2O: methods.md §9.7, and the defects of its reference (§9.3, §18)."""

import numpy as np
import pytest
from oracles.d2o import D2O, forced, merge_rows, nearest, next_threshold, shares, spread
from oracles.dense import Network
from oracles.h2o import kept_after_prefill, victim
from oracles.model import Decoder, LayerPolicy
from oracles.page_topk import PageTopK, page_bounds

EVERY = [D2O(12, 6, mode=mode, merge_keys=keys) for mode in ("code", "convex") for keys in (True, False)]


@pytest.mark.parametrize("policy", EVERY)
@pytest.mark.parametrize("prefill", ["dense", "chunked"])
def test_budget_of_the_context_is_dense(network: Network, ids: np.ndarray, policy: D2O, prefill: str) -> None:
    whole = D2O(45, 30, prefill, mode=policy.mode, merge_keys=policy.merge_keys)
    np.testing.assert_array_equal(
        Decoder(network, LayerPolicy(kv=whole)).run(ids, 30, 9), Decoder(network).run(ids, 30, 9)
    )


def test_a_key_merges_into_itself_without_a_change(rng: np.random.Generator) -> None:
    """An evicted key equal to its target: similarity 1, and both modes give the target back."""
    kept = rng.standard_normal((5, 8))
    gone = kept[[2, 2, 4]]
    target, similarity = nearest(gone, kept)
    np.testing.assert_array_equal(target, [2, 2, 4])
    np.testing.assert_allclose(similarity, 1)
    for mode in ("code", "convex"):
        merged = merge_rows(D2O(mode=mode), kept, gone, target, similarity, 0.5)
        np.testing.assert_allclose(merged, kept)


def test_convex_stays_within_what_it_merges(rng: np.random.Generator) -> None:
    kept, gone = rng.standard_normal((5, 8)), rng.standard_normal((40, 8))
    target, similarity = nearest(gone, kept)
    merged = merge_rows(D2O(mode="convex"), kept, gone, target, similarity, -1)
    for row in range(5):
        own = np.vstack([kept[row], gone[target == row]])
        assert (merged[row] <= own.max(axis=0) + 1e-12).all()
        assert (merged[row] >= own.min(axis=0) - 1e-12).all()
    # The authors' mean shrinks: of similar rows it gives less than any of them.
    near = np.array([[0.6, 0.8]])
    code = merge_rows(D2O(), np.array([[1.0, 0]]), near, *nearest(near, np.array([[1.0, 0]])), 0)
    np.testing.assert_allclose(code, [[(1 + 0.6 * 0.6) / 2, 0.6 * 0.8 / 2]])


def test_negative_similarities(rng: np.random.Generator) -> None:
    kept, gone = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    target, similarity = nearest(gone, kept)
    assert similarity[0] == -1
    np.testing.assert_array_equal(merge_rows(D2O(mode="convex"), kept, gone, target, similarity, -2), kept)
    np.testing.assert_array_equal(merge_rows(D2O(), kept, gone, target, similarity, -2), [[1, 0]])
    np.testing.assert_array_equal(merge_rows(D2O(), kept, gone, target, similarity, 0), kept)


def test_a_zero_key_is_similar_to_nothing() -> None:
    """The reference has no epsilon and gets NaN."""
    target, similarity = nearest(np.zeros((1, 4)), np.eye(4))
    assert (target[0], similarity[0]) == (0, 0)


def test_of_equal_similarities_the_first_wins(rng: np.random.Generator) -> None:
    kept = np.repeat(rng.standard_normal((1, 4)), 3, axis=0)
    assert nearest(kept[:1] * 2, kept)[0][0] == 0


def test_threshold() -> None:
    policy = D2O(alpha=0.3, beta=0.7)
    first = next_threshold(policy, None, np.array([0.2, 0.6]))
    assert first == pytest.approx(0.4)
    assert next_threshold(policy, first, np.array([0.9])) == pytest.approx(0.3 * 0.4 + 0.7 * 0.9)


def test_sinks_are_never_evicted(network: Network, ids: np.ndarray) -> None:
    mass, positions = np.array([0.0, 0.1, 5, 4, 3]), np.arange(5)
    policy = D2O(3, 1, sinks=2)
    assert victim(policy, forced(policy, mass, positions), positions) == 3
    kept = kept_after_prefill(policy, forced(policy, np.append(mass, 9), np.arange(6)), np.arange(6))
    np.testing.assert_array_equal(kept, [1, 1, 1, 0, 0, 1])
    decoder = Decoder(network, LayerPolicy(kv=D2O(6, 5)))
    decoder.run(ids, 20)
    for caches in decoder.caches:
        for cache in caches:
            assert set(cache.position) >= {0, 1, 2, 3}


@pytest.mark.parametrize("policy", EVERY)
def test_a_threshold_that_nothing_reaches_is_plain_eviction(
    network: Network, ids: np.ndarray, policy: D2O, monkeypatch: pytest.MonkeyPatch
) -> None:
    """τ = +∞: what stays is what H2O with four sinks keeps, and nothing changes."""
    merging = Decoder(network, LayerPolicy(kv=policy)).run(ids, 30)
    monkeypatch.setattr("oracles.d2o.next_threshold", lambda *_: np.inf)
    plain = Decoder(network, LayerPolicy(kv=policy))
    logits = plain.run(ids, 30)
    assert sum(map(sum, plain.merged)) == 0
    dense = Decoder(network)
    dense.run(ids, 30)
    for cache, whole in zip(plain.caches[0], dense.caches[0], strict=True):
        live = cache.live
        np.testing.assert_array_equal(cache.keys[live], whole.keys[cache.position[live]])
        np.testing.assert_array_equal(cache.values[live], whole.values[cache.position[live]])
    assert np.abs(merging - logits).max() > 1e-3


def test_values_alone(network: Network, ids: np.ndarray) -> None:
    """In the first layer the keys of a V-only merge are those that were written."""
    decoder, dense = Decoder(network, LayerPolicy(kv=D2O(12, 6, merge_keys=False))), Decoder(network)
    decoder.run(ids, 30)
    dense.run(ids, 30)
    for cache, whole in zip(decoder.caches[0], dense.caches[0], strict=True):
        live = cache.live
        np.testing.assert_array_equal(cache.keys[live], whole.keys[cache.position[live]])
        assert np.abs(cache.values[live] - whole.values[cache.position[live]]).max() > 1e-2


def test_bounds_hold_merged_keys(network: Network, ids: np.ndarray) -> None:
    attention = PageTopK(page=4, budget=12)
    decoder = Decoder(network, LayerPolicy(attention, D2O(12, 8)))
    decoder.run(ids, 30)
    for caches in decoder.caches:
        for cache in caches:
            for slot in cache.live:
                assert (cache.keys[slot] <= cache.high[slot // 4]).all()
                assert (cache.keys[slot] >= cache.low[slot // 4]).all()
    decoder.prefill(ids[:3])
    for caches in decoder.caches:
        for cache in caches:
            np.testing.assert_array_equal(cache.high, page_bounds(cache.keys, 4)[0])


def test_requests_do_not_share_a_threshold(network: Network, ids: np.ndarray) -> None:
    policy = LayerPolicy(kv=D2O(12, 6))
    first = Decoder(network, policy).run(ids, 30)
    Decoder(network, policy).run(ids[::-1], 10)
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 30), first)


def test_the_budget_is_tested_in_every_step(network: Network, ids: np.ndarray) -> None:
    """The reference never looks again at a layer that was within its budget at the first decode step."""
    decoder = Decoder(network, LayerPolicy(kv=D2O(12, 6)))
    decoder.run(ids, 10)
    assert all(len(cache.live) == 18 for caches in decoder.caches for cache in caches)


SHARING = D2O(12, 6, budgets="variance")


def test_shares_add_up_to_the_number_of_layers(rng: np.random.Generator) -> None:
    """Before the clamp: the budgets of all layers together are those of the parameters (methods.md §9.7)."""
    for layers in (1, 2, 7, 80):
        spreads = rng.random(layers)
        own = shares(spreads)
        assert own.sum() == pytest.approx(layers)
        assert (np.argsort(own) == np.argsort(-spreads)).all()
        # The most that a layer can get is e times the mean; the cap of a layer holds that.
        assert own.max() < np.e
        assert max(SHARING.share(share, 10) for share in own) <= SHARING.most
    np.testing.assert_allclose(shares([0, 1, 1]), 3 / (1 + 2 / np.e) * np.array([1, 1 / np.e, 1 / np.e]))


def test_layers_of_equal_spread_share_equally(rng: np.random.Generator) -> None:
    for layers in range(1, 40):
        assert {SHARING.share(share, 10) for share in shares([rng.random()] * layers)} == {SHARING.cap}
    assert SHARING.keeping(SHARING.cap) == D2O(12, 6)


def test_spread(rng: np.random.Generator) -> None:
    """Unbiased variance over positions, min-max over heads, mean over heads."""
    masses = [rng.random(9) * scale for scale in (1, 2, 4)]
    a, b, c = (((m - m.mean()) ** 2).sum() / 8 for m in masses)
    expected = sum((v - min(a, b, c)) / (max(a, b, c) - min(a, b, c) + 1e-6) for v in (a, b, c)) / 3
    assert spread(masses) == pytest.approx(expected)
    assert spread(masses[:1]) == 0
    assert spread([m[:1] for m in masses]) == 0


def test_bounds_of_a_budget() -> None:
    policy = D2O(30, 10, sinks=6, budgets="variance")
    assert policy.share(0.01, 10) == 6 + 2  # The sinks, and the recent tokens beside as many heavy ones.
    assert policy.keeping(8) == D2O(6, 2, sinks=6)
    assert policy.share(0.4, 5000) == 50
    assert policy.share(0.4, 1 << 20) == policy.most == 109
    assert D2O(0, 5, sinks=0, budgets="variance").share(0.01, 10) == 1


def test_layers_keep_what_they_share(network: Network, ids: np.ndarray) -> None:
    decoder = Decoder(network, LayerPolicy(kv=SHARING))
    decoder.run(ids, 50)
    dense = Decoder(network)
    dense.prefill(ids[:50])
    # What the first layer's tokens received does not depend on what is evicted later.
    spreads = [spread([cache.mass for cache in caches]) for caches in dense.caches]
    for caches, share in zip(decoder.caches, shares(spreads), strict=True):
        for cache in caches:
            assert cache.budget == SHARING.share(share, 50) == len(cache.live)
            assert set(cache.position) >= {0, 1, 2, 3}


def test_budgets_are_those_of_the_first_prompt(network: Network, ids: np.ndarray) -> None:
    decoder = Decoder(network, LayerPolicy(kv=SHARING))
    decoder.run(ids[:40], 30)
    before = [[cache.budget for cache in caches] for caches in decoder.caches]
    decoder.run(ids[40:], 20)
    assert [[cache.budget for cache in caches] for caches in decoder.caches] == before
    alone = Decoder(network, LayerPolicy(kv=SHARING))
    alone.run(ids, 0)
    # Without a prompt a layer keeps the most that it can get.
    assert all(len(cache.live) == SHARING.most for caches in alone.caches for cache in caches)


def test_shared_budgets_of_the_context_are_dense(network: Network, ids: np.ndarray) -> None:
    whole = D2O(150, 75, budgets="variance")  # A layer gets more than a third.
    np.testing.assert_array_equal(
        Decoder(network, LayerPolicy(kv=whole)).run(ids, 30, 9), Decoder(network).run(ids, 30, 9)
    )


def test_parameters() -> None:
    with pytest.raises(ValueError, match="uniform or variance"):
        D2O(budgets="pyramid")
    for form in ({"prefill": "chunked"}, {"over": 4096}):
        with pytest.raises(ValueError, match="the whole prompt"):
            D2O(budgets="variance", **form)
    with pytest.raises(ValueError, match="code or convex"):
        D2O(mode="mean")
    with pytest.raises(ValueError, match="heavy must hold them"):
        D2O(3, 5)
