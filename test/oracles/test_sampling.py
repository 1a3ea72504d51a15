"""The oracle of sampling against plain floating point."""

import numpy as np
import pytest
from oracles import sampling


def test_masses_are_those_of_the_softmax() -> None:
    logits = np.linspace(-30, 5, 3001, dtype=np.float32)
    for temperature in (0.5, 1.0, 2.0):
        mass = np.array(sampling.masses(logits, temperature), dtype=np.float64) / 2**40
        expected = np.exp((logits.astype(np.float64) - 5) / temperature)
        near = expected > 1e-6
        np.testing.assert_allclose(mass[near], expected[near], rtol=4e-6)
        assert np.abs(mass - expected)[~near].max() < 1e-11
    assert sampling.masses(np.array([2, -np.inf], np.float32), 1) == [2**40, 0]


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9])
def test_top_p_is_the_shortest_start(top_p: float) -> None:
    logits = np.random.default_rng(1).standard_normal(500).astype(np.float32) * 3
    kept = sampling.kept_tokens(logits, sampling.masses(logits, 1), 0, top_p)
    share = np.sort(np.exp(logits - logits.max(), dtype=np.float64))[::-1]
    share = np.cumsum(share / share.sum())
    assert len(kept) == int(np.searchsorted(share, top_p)) + 1


def test_draws_have_the_frequencies_of_the_softmax() -> None:
    logits = np.log(np.array([1, 2, 4, 1], np.float32))
    counts = np.bincount([sampling.sample(logits, 1, 0, 1, 3, i) for i in range(8000)], minlength=4)
    expected = 8000 * np.array([1, 2, 4, 1]) / 8
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_ties_go_to_the_lowest_index() -> None:
    logits = np.array([1, 3, -0.0, 3, 0.0, 1], np.float32)
    assert sampling.sample(logits) == 1
    mass = sampling.masses(logits, 1)
    assert sampling.kept_tokens(logits, mass, 3, 1) == [1, 3, 0]
    assert sampling.kept_tokens(logits, mass, 5, 1) == [1, 3, 0, 5, 2]
