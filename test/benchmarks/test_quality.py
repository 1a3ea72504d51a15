"""The figures of the quality bench."""

import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "benchmarks" / "quality")]

from quality import compare  # noqa: E402


def test_equal_logits_differ_in_nothing() -> None:
    logits = np.random.default_rng(0).normal(size=(600, 50)).astype(np.float32)
    ids = np.arange(600) % 50
    figures = compare(logits, logits, ids)
    assert np.isnan(figures[-1, 0])
    assert not figures[:, 1].any()
    assert figures[:, 2].all()


def test_likelihood_is_of_the_next_token_and_kl_from_the_dense_one() -> None:
    own = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32))
    dense = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]], np.float32)) + 3
    figures = compare(own, dense, np.array([2, 1]))
    np.testing.assert_allclose(figures[0], [np.log(4), 0.25 * np.log(2), 0], rtol=1e-5)
    np.testing.assert_allclose(figures[1, 1:], [0, 1], atol=1e-6)
