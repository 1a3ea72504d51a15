"""Properties of streaming: methods.md §10.1 and the gate of §13."""

import numpy as np
import pytest
from oracles import dense
from oracles.dense import Network
from oracles.model import Decoder, LayerPolicy
from oracles.page_topk import PageTopK
from oracles.streaming import Streaming, visible

POLICIES = [Streaming(4, 12), Streaming(0, 9), Streaming(3, 1), Streaming(1, 30)]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("prefill", "chunk"), [(75, None), (40, None), (40, 7), (5, None), (0, None)])
def test_cache_equals_a_mask(
    network: Network, ids: np.ndarray, policy: Streaming, prefill: int, chunk: int | None
) -> None:
    """A bounded cache gives what the whole row gives under the mask."""
    logits = Decoder(network, LayerPolicy(kv=policy)).run(ids, prefill, chunk)
    masked = dense.forward(network, ids, lambda query, key: visible(policy, query, key))
    np.testing.assert_allclose(logits, masked, atol=1e-10)
    assert np.abs(masked - dense.forward(network, ids)).max() > 1e-2


def test_window_of_the_context_is_dense(network: Network, ids: np.ndarray) -> None:
    policy = LayerPolicy(kv=Streaming(4, len(ids) - 4))
    np.testing.assert_array_equal(Decoder(network, policy).run(ids, 30), Decoder(network).run(ids, 30))


@pytest.mark.parametrize("policy", POLICIES)
def test_memory_is_bounded_and_the_kept_set_is_the_definition(
    network: Network, ids: np.ndarray, policy: Streaming
) -> None:
    decoder = Decoder(network, LayerPolicy(kv=policy))
    decoder.prefill(ids[:50], 8)
    for token in ids[50:]:
        decoder.decode(int(token))
        last = decoder.length - 1
        expected = [p for p in range(decoder.length) if p < policy.sinks or last - p < policy.window]
        for trace in (trace for layer in decoder.trace for trace in layer):
            np.testing.assert_array_equal(trace.kept, expected)
            assert len(trace.slots) <= policy.cap + 1
            assert trace.attended == len(expected)


def test_subset_of_heads_keeps_different_lengths(network: Network, ids: np.ndarray) -> None:
    heads = network.config.kv_heads
    policy = LayerPolicy(kv_by_head={heads - 1: Streaming(2, 10)})
    decoder = Decoder(network, policy)
    logits = decoder.run(ids, 40)
    lengths = [len(trace.kept) for trace in decoder.trace[0]]
    assert lengths == [len(ids)] * (heads - 1) + [12]
    if heads > 1:
        for other in (LayerPolicy(), LayerPolicy(kv=Streaming(2, 10))):
            assert np.abs(logits - Decoder(network, other).run(ids, 40)).max() > 1e-3


def test_pages_over_streaming_with_budget_for_all_is_streaming(network: Network, ids: np.ndarray) -> None:
    kv = Streaming(4, 12)
    both = LayerPolicy(PageTopK(page=4, budget=20), kv)
    np.testing.assert_array_equal(
        Decoder(network, both).run(ids, 40), Decoder(network, LayerPolicy(kv=kv)).run(ids, 40)
    )


def test_pages_over_streaming_read_less_and_never_past_the_window(network: Network, ids: np.ndarray) -> None:
    kv = Streaming(4, 28)
    decoder = Decoder(network, LayerPolicy(PageTopK(page=4, budget=12), kv))
    decoder.prefill(ids[:40])
    for token in ids[40:]:
        decoder.decode(int(token))
        for trace in (trace for layer in decoder.trace for trace in layer):
            assert all(len(pages) == 3 for pages in trace.pages)
            assert 1 <= trace.attended <= 12
            current = int(np.flatnonzero(trace.slots == decoder.length - 1)[0])
            assert all(current // 4 in pages for pages in trace.pages)
