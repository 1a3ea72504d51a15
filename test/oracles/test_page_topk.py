"""Properties of Quest: methods.md §1.11 and the gate of §13."""

import dataclasses

import numpy as np
import pytest
from common.config import LlamaConfig
from common.weights import random_weights
from oracles import dense, page_topk
from oracles.dense import Network
from oracles.model import Decoder, LayerPolicy
from oracles.page_topk import PageTopK, page_bounds, page_scores, select_pages, slots_of, top_pages


def attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """q [group, d], seen bool [group, n] → [group, d]."""
    return dense.attention_weights(q[None], keys, seen[None])[0] @ values


@pytest.mark.parametrize("n", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("page", [1, 4, 16])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_score_bounds_every_logit_of_its_page(rng: np.random.Generator, n: int, page: int, scale: float) -> None:
    keys = rng.standard_normal((n, 8)) * scale
    q = np.vstack([rng.standard_normal((4, 8)), -np.abs(rng.standard_normal((1, 8))), np.zeros((1, 8))])
    scores, logits = page_scores(q, *page_bounds(keys, page)), q @ keys.T
    for p in range(scores.shape[1]):
        best = logits[:, p * page : (p + 1) * page].max(axis=1)
        assert (scores[:, p] >= best - 1e-9 * scale).all()
    if page == 1:
        np.testing.assert_allclose(scores, logits, atol=1e-9 * scale)


def test_page_of_one_slot_is_exact_top_k(rng: np.random.Generator) -> None:
    keys, values, q = rng.standard_normal((40, 8)), rng.standard_normal((40, 8)), rng.standard_normal((1, 8))
    policy = PageTopK(page=1, budget=7)
    pages = select_pages(policy, q, *page_bounds(keys, 1), current=39)
    logits = (q @ keys.T)[0]
    logits[39] = np.inf
    np.testing.assert_array_equal(pages[0], np.sort(np.argsort(-logits)[:7]))
    exact = np.isin(np.arange(40), pages[0])[None]
    np.testing.assert_allclose(
        attend(q, keys, values, slots_of(pages[0], 1, 40)[None]), attend(q, keys, values, exact)
    )


@pytest.mark.parametrize("group", ["max", "sum"])
@pytest.mark.parametrize("per_query_head", [False, True])
def test_budget_of_the_context_is_dense(network: Network, ids: np.ndarray, group: str, per_query_head: bool) -> None:
    policy = LayerPolicy(PageTopK(page=16, budget=80, group=group, per_query_head=per_query_head))
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 30), Decoder(network).run(ids, 30))
    less = LayerPolicy(PageTopK(page=16, budget=32, group=group, per_query_head=per_query_head))
    assert np.abs(Decoder(network, less).run(ids, 30) - Decoder(network).run(ids, 30)).max() > 1e-2


@pytest.mark.parametrize("page", [3, 16])
def test_bounds_grow_as_they_would_be_rebuilt(network: Network, ids: np.ndarray, page: int) -> None:
    decoder = Decoder(network, LayerPolicy(PageTopK(page=page, budget=2 * page)))
    decoder.run(ids, 21, chunk=10)
    for cache in (cache for layer in decoder.caches for cache in layer):
        high, low = page_bounds(cache.keys, page)
        np.testing.assert_array_equal(cache.high, high)
        np.testing.assert_array_equal(cache.low, low)


@pytest.mark.parametrize("budget_pages", [2, 3, 5])
@pytest.mark.parametrize("group", [1, 3])
def test_planted_needle_is_found(rng: np.random.Generator, budget_pages: int, group: int) -> None:
    for needle in (0, 17, 63, 200):
        keys, q = rng.standard_normal((256, 64)), np.repeat(rng.standard_normal((1, 64)), group, axis=0)
        keys[needle] = 40 * q[0] / np.linalg.norm(q[0])  # longer than 64 channels of page bounds reach
        policy = PageTopK(page=16, budget=16 * budget_pages)
        pages = select_pages(policy, q, *page_bounds(keys, 16), current=15)
        assert needle // 16 in pages[0]
        assert len(pages[0]) == budget_pages


def test_equal_queries_in_a_group_select_as_one_head(rng: np.random.Generator) -> None:
    keys, q = rng.standard_normal((200, 16)), rng.standard_normal((1, 16))
    bounds = page_bounds(keys, 8)
    alone = select_pages(PageTopK(page=8, budget=48), q, *bounds, current=24)[0]
    for group in ("max", "sum"):
        together = select_pages(PageTopK(page=8, budget=48, group=group), np.repeat(q, 4, axis=0), *bounds, current=24)
        np.testing.assert_array_equal(together[3], alone)


def test_group_reductions_differ_and_per_head_is_neither(rng: np.random.Generator) -> None:
    keys, q = rng.standard_normal((512, 16)), rng.standard_normal((4, 16))
    bounds = page_bounds(keys, 8)
    base = PageTopK(page=8, budget=80)
    results = {
        name: [tuple(pages) for pages in select_pages(dataclasses.replace(base, **change), q, *bounds, current=63)]
        for name, change in (("max", {}), ("sum", {"group": "sum"}), ("own", {"per_query_head": True}))
    }
    assert len(set(results["max"])) == len(set(results["sum"])) == 1
    assert len(set(results["own"])) > 1
    assert results["max"] != results["sum"]
    single = page_scores(q, *bounds)
    for head, pages in enumerate(results["own"]):
        assert list(pages) == list(top_pages(single[head], 10, {63}))


def test_a_growing_budget_is_a_share_of_the_head() -> None:
    policy = PageTopK(page=4, budget=26, over=100, least=9, sinks=5)
    # Two sink pages and the current one; then nine tokens are fewer than three pages; 26 tokens are six from 100 on.
    assert [policy.at(n).pages for n in (1, 40, 61, 62, 93, 99, 100, 5000)] == [3, 3, 3, 4, 6, 6, 6, 6]
    assert PageTopK(page=4, budget=24, over=100, least=17).at(20).pages == 4
    assert PageTopK(page=16, budget=64, over=1000).at(1).pages == 1
    assert PageTopK(page=16, budget=64).at(1) == PageTopK(page=16, budget=64)


def test_a_growing_budget_selects_as_a_constant_one(network: Network, ids: np.ndarray) -> None:
    policy = PageTopK(page=4, budget=20, over=70, least=8)
    decoder = Decoder(network, LayerPolicy(policy))
    decoder.run(ids[:20], 20)
    read = []
    for n, token in enumerate(ids[20:], 21):
        decoder.decode(int(token))
        (head, *_), *_ = decoder.trace
        read.append(len(head.pages[0]))
        assert read[-1] == policy.at(n).pages
    assert read == sorted(read) and read[0] == 2 and read[-1] == 5


def test_ties_go_to_the_lower_index() -> None:
    np.testing.assert_array_equal(top_pages(np.zeros(9), 4, {6}), [0, 1, 2, 6])
    np.testing.assert_array_equal(top_pages(np.array([1.0, 3, 2, 3, 2, 3]), 4, {0}), [0, 1, 3, 5])
    np.testing.assert_array_equal(top_pages(np.array([1.0, 3, 2, 3, 2, 3]), 5, {0}), [0, 1, 2, 3, 5])
    many = np.tile([1.0, 2.0], 500)
    np.testing.assert_array_equal(top_pages(many, 101, {0}), [0, *range(1, 200, 2)])


def test_group_reductions_by_hand() -> None:
    """One page beside the forced one: max picks the largest score, sum the largest sum, neither the largest minimum."""
    q = np.eye(3)
    pages_by_head = np.array([[1.0, 1, 1], [4, 0, 0], [0, 3, 3], [0, 0, 2]])  # u[h, p] of head h is row p, column h
    for group, best in (("max", 1), ("sum", 2)):
        policy = PageTopK(page=1, budget=2, group=group)
        pages = select_pages(policy, q, pages_by_head, pages_by_head, current=3)
        assert [list(one) for one in pages] == [[best, 3]] * 3
    own = select_pages(PageTopK(page=1, budget=2, per_query_head=True), q, pages_by_head, pages_by_head, current=3)
    assert [list(one) for one in own] == [[1, 3], [2, 3], [2, 3]]


def test_current_page_and_sinks_are_always_read(network: Network, ids: np.ndarray) -> None:
    decoder = Decoder(network, LayerPolicy(PageTopK(page=4, budget=16, sinks=5)))
    decoder.prefill(ids[:40])
    seen = 0
    for token in ids[40:]:
        decoder.decode(int(token))
        for trace in (trace for layer in decoder.trace for trace in layer):
            for pages in trace.pages:
                assert {0, 1, (decoder.length - 1) // 4} <= set(pages)
                assert len(pages) == 4
                assert list(pages) == sorted(set(pages))
                seen += 1
            assert trace.attended == 12 + (decoder.length - 1) % 4 + 1
    assert seen
    with pytest.raises(ValueError, match="leave no room"):
        PageTopK(page=4, budget=8, sinks=5)


def test_budget_below_a_page_reads_the_current_page(network: Network, ids: np.ndarray) -> None:
    decoder = Decoder(network, LayerPolicy(PageTopK(page=16, budget=1)))
    decoder.run(ids, 20)
    assert all(list(t.pages[0]) == [(len(ids) - 1) // 16] for layer in decoder.trace for t in layer)


def test_bypass_ends_with_the_first_page_too_many(network: Network, ids: np.ndarray) -> None:
    decoder = Decoder(network, LayerPolicy(PageTopK(page=8, budget=24)))
    for length, token in enumerate(ids[:40], start=1):
        decoder.decode(int(token))
        assert all((t.pages is None) == (-(-length // 8) <= 3) for layer in decoder.trace for t in layer)


def test_selection_error_is_bounded_by_the_mass_left_out(rng: np.random.Generator) -> None:
    """‖o_sel − o‖ ≤ 2 (1 − Σ_sel A) max‖v‖ (methods.md §13 item 10), with and without a needle."""
    for needle in (False, True):
        keys, values, q = rng.standard_normal((96, 8)), rng.standard_normal((96, 8)), rng.standard_normal((2, 8))
        if needle:
            keys[50] = 5 * q[0]
        pages = select_pages(PageTopK(page=8, budget=32), q, *page_bounds(keys, 8), current=11)
        seen = np.array([slots_of(chosen, 8, 96) for chosen in pages])
        everything = np.ones((2, 96), bool)
        weights = dense.attention_weights(q[None], keys, everything[None])[0]
        error = np.linalg.norm(attend(q, keys, values, seen) - attend(q, keys, values, everything), axis=1)
        left = 1 - (weights * seen).sum(axis=1)
        assert (error <= 2 * left * np.linalg.norm(values, axis=1).max() + 1e-12).all()


def test_order_of_pages_does_not_matter(rng: np.random.Generator) -> None:
    keys, values, q = rng.standard_normal((64, 8)), rng.standard_normal((64, 8)), rng.standard_normal((2, 8))
    order = np.concatenate([8 * page + np.arange(8) for page in rng.permutation(7)] + [np.arange(56, 64)])
    outputs = []
    for index in (np.arange(64), order):
        pages = select_pages(PageTopK(page=8, budget=24), q, *page_bounds(keys[index], 8), current=7)
        outputs.append(attend(q, keys[index], values[index], np.array([slots_of(p, 8, 64) for p in pages])))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-12)


def test_equal_heads_make_grouped_attention_plain(rng: np.random.Generator) -> None:
    """A model whose query heads are equal in each group equals the one with a query head a KV head."""
    small = LlamaConfig(heads=2, kv_heads=2, layers=1)
    large = dataclasses.replace(small, heads=6)
    weights = random_weights(small, 9)
    q_proj, o_proj = (f"model.layers.0.self_attn.{part}.weight" for part in ("q_proj", "o_proj"))
    wide = dict(weights)
    wide[q_proj] = np.repeat(weights[q_proj].reshape(64, 2, 16), 3, axis=1).reshape(64, -1)
    wide[o_proj] = np.repeat(weights[o_proj].reshape(2, 16, 64), 3, axis=0).reshape(-1, 64) / 3
    ids = rng.integers(0, small.vocab, 60)
    policy = LayerPolicy(PageTopK(page=4, budget=16))
    one, other = (Decoder(Network(c, w), policy).run(ids, 20) for c, w in ((small, weights), (large, wide)))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="max or sum"):
        page_topk.PageTopK(group="mean")
