"""Properties of H2O: methods.md §7.7 and the gate of §13."""

import numpy as np
import pytest
from oracles import dense
from oracles.dense import Network
from oracles.h2o import H2O, gathered_mass, kept_after_prefill, mass_from_logsumexp, victim
from oracles.model import Decoder, LayerPolicy
from oracles.page_topk import PageTopK, page_bounds


def heads_of(decoder: Decoder):
    return ((layer, head, cache) for layer, caches in enumerate(decoder.caches) for head, cache in enumerate(caches))


@pytest.mark.parametrize(("heavy", "recent"), [(45, 30), (0, 75), (74, 1)])
def test_budget_of_the_context_is_dense(network: Network, ids: np.ndarray, heavy: int, recent: int) -> None:
    policy = LayerPolicy(kv=H2O(heavy, recent))
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 30), Decoder(network).run(ids, 30))
    less = LayerPolicy(kv=H2O(heavy // 4, max(1, recent // 4)))
    assert np.abs(Decoder(network, less).run(ids, 30) - Decoder(network).run(ids, 30)).max() > 1e-2


def test_mass_is_conserved(network: Network, ids: np.ndarray) -> None:
    """The mass of a head is one a query and query head, less what was evicted."""
    policy = H2O(8, 8)
    group = network.config.heads // network.config.kv_heads
    decoder = Decoder(network, LayerPolicy(kv=policy))
    whole = Decoder(network)
    whole.prefill(ids[:30])
    decoder.prefill(ids[:30])
    left = {}
    for (layer, head, full), (_, _, cache) in zip(heads_of(whole), heads_of(decoder), strict=True):
        assert full.mass.sum() == pytest.approx(30 * group)
        dropped = ~np.isin(full.position, cache.position)
        assert cache.mass.sum() == pytest.approx(30 * group - full.mass[dropped].sum())
        left[layer, head] = cache.mass.sum()
    for step, token in enumerate(ids[30:], start=1):
        before = {(layer, head): cache.mass.copy() for layer, head, cache in heads_of(decoder)}
        decoder.decode(int(token))
        for layer, head, cache in heads_of(decoder):
            live = cache.live
            now = cache.mass[live].sum()
            gone = cache.mass[cache.victim] if cache.victim is not None else 0.0
            assert now == pytest.approx(left[layer, head] + group - gone)
            left[layer, head] = now
            assert len(before[layer, head]) <= policy.cap + 1


def test_no_heavy_slots_is_a_sliding_window(network: Network, ids: np.ndarray) -> None:
    """Attention comes before eviction: with recent = r a token sees itself and the r before it."""
    recent = 9
    logits = Decoder(network, LayerPolicy(kv=H2O(0, recent))).run(ids, 0)
    masked = dense.forward(network, ids, lambda query, key: query - key <= recent)
    np.testing.assert_allclose(logits, masked, atol=1e-10)


def test_hand_example() -> None:
    """n = 4, heavy = recent = 1; the columns sum to 2.1, 1.05, 0.65, 0.2."""
    weights = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.4, 0.4, 0], [0.4, 0.15, 0.25, 0.2]])[:, None, :]
    mass, positions = gathered_mass(weights), np.arange(4)
    np.testing.assert_allclose(mass, [2.1, 1.05, 0.65, 0.2])
    np.testing.assert_array_equal(kept_after_prefill(H2O(1, 1), mass, positions), [True, False, False, True])
    np.testing.assert_array_equal(kept_after_prefill(H2O(2, 1), mass, positions), [True, True, False, True])
    assert victim(H2O(2, 1), mass, positions) == 2
    assert victim(H2O(1, 2), mass, positions) == 1
    assert victim(H2O(2, 2), mass, positions) is None


def test_ties_and_shuffled_slots() -> None:
    mass, positions = np.array([1.0, 2, 1, 1, 5]), np.array([40, 10, 20, 30, 0])
    assert victim(H2O(2, 2), mass, positions) == 2  # positions 20, 30, 40 have mass 1; 30 and 40 are recent
    assert victim(H2O(3, 1), mass, positions) == 2  # 20 before 30
    np.testing.assert_array_equal(kept_after_prefill(H2O(3, 1), mass, positions), [True, True, True, False, True])
    np.testing.assert_array_equal(kept_after_prefill(H2O(2, 1), np.array([1.0, 1, 1, 9]), np.arange(4)), [1, 1, 0, 1])


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_mass_from_tiles_equals_mass_from_weights(rng: np.random.Generator, tile: int) -> None:
    q, keys = rng.standard_normal((40, 3, 8)), rng.standard_normal((50, 8))
    seen = np.arange(50)[None] <= np.arange(10, 50)[:, None]
    exact = gathered_mass(dense.attention_weights(q, keys, seen))
    np.testing.assert_allclose(mass_from_logsumexp(q, keys, seen, tile), exact, atol=1e-12)


def test_a_key_that_all_queries_want_is_never_evicted(rng: np.random.Generator) -> None:
    for _ in range(20):
        n = 40
        scores = rng.standard_normal((n, 1, n))
        wanted = int(rng.integers(0, 10))
        scores[:, :, wanted] += 20
        weights = dense.softmax(np.where(np.tri(n, dtype=bool)[:, None], scores, -np.inf))
        positions, mass = np.arange(10), gathered_mass(weights[:10, :, :10])
        for step in range(10, n):
            positions = np.append(positions, step)
            mass = np.append(mass, 0.0) + dense.softmax(scores[step, 0, positions])
            if (index := victim(H2O(4, 4), mass, positions)) is not None:
                positions, mass = np.delete(positions, index), np.delete(mass, index)
                if len(positions) > 8:
                    keep = kept_after_prefill(H2O(4, 4), mass, positions)
                    positions, mass = positions[keep], mass[keep]
            assert wanted in positions


def test_group_mass_is_the_sum_over_its_heads(rng: np.random.Generator) -> None:
    q, keys = rng.standard_normal((12, 1, 8)), rng.standard_normal((12, 8))
    seen = np.tri(12, dtype=bool)
    one = gathered_mass(dense.attention_weights(q, keys, seen))
    group = gathered_mass(dense.attention_weights(np.repeat(q, 4, axis=1), keys, seen))
    np.testing.assert_allclose(group, 4 * one)
    np.testing.assert_array_equal(
        kept_after_prefill(H2O(3, 2), group, np.arange(12)), kept_after_prefill(H2O(3, 2), one, np.arange(12))
    )


@pytest.mark.parametrize("chunk", [1, 7, 16])
def test_kept_set_does_not_depend_on_chunks(network: Network, ids: np.ndarray, chunk: int) -> None:
    policy = LayerPolicy(kv=H2O(10, 6))
    one, other = Decoder(network, policy), Decoder(network, policy)
    np.testing.assert_allclose(one.prefill(ids[:50]), other.prefill(ids[:50], chunk), atol=1e-10)
    for (_, _, a), (_, _, b) in zip(heads_of(one), heads_of(other), strict=True):
        np.testing.assert_array_equal(a.position, b.position)
        assert list(a.position) == sorted(a.position)
        assert len(a.position) == 16


@pytest.mark.parametrize("chunk", [1, 7, 16, 50])
def test_chunked_prefill_holds_its_budget_in_every_chunk(network: Network, ids: np.ndarray, chunk: int) -> None:
    policy = H2O(10, 6, "chunked")
    decoder, before = Decoder(network, LayerPolicy(kv=policy)), {}
    for start in range(0, 50, chunk):
        decoder.prefill(ids[start : min(start + chunk, 50)], chunk)
        for layer, head, cache in heads_of(decoder):
            assert cache.extent == min(decoder.length, policy.cap)
            new = set(range(start, decoder.length))
            assert set(cache.position) <= before.get((layer, head), set()) | new
            assert set(cache.position) >= set(range(max(0, decoder.length - policy.recent), decoder.length))
            before[layer, head] = set(cache.position)
    one = Decoder(network, LayerPolicy(kv=policy))
    one.prefill(ids[:50], chunk)
    for (_, _, a), (_, _, b) in zip(heads_of(one), heads_of(decoder), strict=True):
        np.testing.assert_array_equal(a.position, b.position)


def test_a_chunk_of_the_whole_prompt_is_dense_prefill(network: Network, ids: np.ndarray) -> None:
    dense_prefill = Decoder(network, LayerPolicy(kv=H2O(10, 6))).run(ids, 50)
    chunked = LayerPolicy(kv=H2O(10, 6, "chunked"))
    np.testing.assert_array_equal(Decoder(network, chunked).run(ids, 50, 50), dense_prefill)
    np.testing.assert_array_equal(Decoder(network, chunked).run(ids, 50), dense_prefill)
    assert np.abs(Decoder(network, chunked).run(ids, 50, 10) - dense_prefill).max() > 1e-3


def test_chunks_of_one_token_are_decode_steps(network: Network, ids: np.ndarray) -> None:
    """A prompt that is cut after each token is what decode steps do."""
    policy = LayerPolicy(kv=H2O(10, 6, "chunked"))
    stepped = Decoder(network, policy).run(ids, 0)
    np.testing.assert_allclose(Decoder(network, policy).run(ids, len(ids), 1), stepped, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 75])
def test_chunked_budget_of_the_context_is_dense(network: Network, ids: np.ndarray, chunk: int) -> None:
    policy = LayerPolicy(kv=H2O(45, 30, "chunked"))
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 75, chunk), Decoder(network).run(ids, 75, chunk))


def test_prefill_is_dense(network: Network, ids: np.ndarray) -> None:
    policy = LayerPolicy(PageTopK(page=4, budget=8), H2O(4, 4))
    np.testing.assert_allclose(Decoder(network, policy).prefill(ids), dense.forward(network, ids), atol=1e-10)


def test_evicted_tokens_never_return_and_slots_are_reused(network: Network, ids: np.ndarray) -> None:
    policy = H2O(6, 5)
    decoder = Decoder(network, LayerPolicy(kv=policy))
    decoder.prefill(ids[:20])
    kept = {(layer, head): set(cache.position) for layer, head, cache in heads_of(decoder)}
    victims = {}
    for token in ids[20:]:
        decoder.decode(int(token))
        now = decoder.length - 1
        for layer, traces in enumerate(decoder.trace):
            for head, trace in enumerate(traces):
                key = layer, head
                assert set(trace.kept) <= kept[key] | {now}
                assert set(trace.kept[-policy.recent :]) == set(range(now - policy.recent + 1, now + 1))
                if key in victims:
                    assert trace.slots[victims[key]] == now
                assert len(trace.slots) <= policy.cap + 1
                victims[key] = int(np.flatnonzero(trace.slots < 0)[0])
                kept[key] = set(trace.kept)
    assert len({tuple(sorted(positions)) for positions in kept.values()}) > 1


def test_bounds_stay_valid_and_compaction_makes_them_tight(network: Network, ids: np.ndarray) -> None:
    decoder = Decoder(network, LayerPolicy(PageTopK(page=4, budget=12), H2O(12, 8)))
    decoder.run(ids, 30)
    looser = 0
    assert any(list(cache.position) != sorted(cache.position) for _, _, cache in heads_of(decoder))
    for _, _, cache in heads_of(decoder):
        for slot in cache.live:
            assert (cache.keys[slot] <= cache.high[slot // 4]).all()
            assert (cache.keys[slot] >= cache.low[slot // 4]).all()
        high, _ = page_bounds(cache.keys, 4)
        looser += int((cache.high > high).any())
    assert looser
    decoder.prefill(ids[:3])
    for _, _, cache in heads_of(decoder):
        assert cache.extent == 20
        assert list(cache.position) == sorted(cache.position)
        assert cache.position[-1] == len(ids) + 2
        np.testing.assert_array_equal(cache.high, page_bounds(cache.keys, 4)[0])


def test_pages_over_h2o(network: Network, ids: np.ndarray) -> None:
    kv = H2O(16, 8)
    full = LayerPolicy(PageTopK(page=4, budget=28), kv)
    plain = Decoder(network, LayerPolicy(kv=kv)).run(ids, 30)
    np.testing.assert_array_equal(Decoder(network, full).run(ids, 30), plain)

    decoder = Decoder(network, LayerPolicy(PageTopK(page=4, budget=12), kv))
    logits = [decoder.prefill(ids[:30])]
    for token in ids[30:]:
        logits.append(decoder.decode(int(token))[None])
        for trace in (trace for layer in decoder.trace for trace in layer):
            current = int(np.flatnonzero(trace.slots == decoder.length - 1)[0])
            assert all(len(pages) == 3 and current // 4 in pages for pages in trace.pages)
            assert trace.attended <= 12
    assert np.abs(np.concatenate(logits) - plain).max() > 1e-3


def test_first_layer_dense(network: Network, ids: np.ndarray) -> None:
    sparse = LayerPolicy(PageTopK(page=4, budget=12), H2O(16, 8))
    decoder = Decoder(network, [LayerPolicy(), sparse])
    decoder.run(ids, 30)
    assert all(trace.pages is None and len(trace.kept) == len(ids) for trace in decoder.trace[0])
    assert all(trace.pages is not None and len(trace.kept) == 24 for trace in decoder.trace[1])


def test_two_requests_do_not_touch_each_other(network: Network, ids: np.ndarray) -> None:
    policy = LayerPolicy(PageTopK(page=4, budget=12), H2O(16, 8))
    first = Decoder(network, policy).run(ids, 30)
    Decoder(network, policy).run(ids[::-1], 10)
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 30), first)


def test_there_are_two_ways_to_read_a_prompt() -> None:
    with pytest.raises(ValueError, match="dense or chunked"):
        H2O(4, 4, "tiled")


def test_recent_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        H2O(4, 0)
