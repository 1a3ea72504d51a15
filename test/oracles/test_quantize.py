"""The quantization oracle against what follows from its definition."""

import ml_dtypes
import numpy as np
import pytest

from .quantize import GREATEST, Quantize, codes, scales, seen

FORMATS = [Quantize("int8"), Quantize("fp8")]


def rows(seed: int, n: int = 40, d: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.exp(rng.normal(size=(n, 1)))


@pytest.mark.parametrize("policy", FORMATS)
def test_the_greatest_channel_has_the_greatest_code(policy: Quantize) -> None:
    x = rows(1)
    greatest = np.abs(codes(policy, x).astype(np.float64)).max(axis=1)
    assert (greatest == GREATEST[policy.format]).all()


def test_int8_is_within_half_a_step() -> None:
    x = rows(2)
    policy = Quantize("int8")
    # The greatest channel may saturate: its scale was rounded down by at most 2^-11 of itself.
    slack = np.abs(x).max(axis=1, keepdims=True) * 2**-11
    assert (np.abs(seen(policy, x) - x) <= scales(policy, x) / 2 + slack).all()


def test_fp8_is_within_a_sixteenth_or_half_the_least_step() -> None:
    x = rows(3)
    policy = Quantize("fp8")
    bound = np.maximum(np.abs(x) / 16, scales(policy, x) * 2**-10)
    assert (np.abs(seen(policy, x) - x) <= bound * (1 + 2**-10)).all()


@pytest.mark.parametrize("policy", FORMATS)
def test_what_was_seen_is_seen_again(policy: Quantize) -> None:
    x = seen(policy, rows(4))
    assert (seen(policy, x) == x).all()


@pytest.mark.parametrize("policy", FORMATS)
def test_zero_and_tiny_rows(policy: Quantize) -> None:
    x = np.zeros((2, 8))
    x[1] = 2.0**-30
    assert (scales(policy, x) == 2.0**-14).all()
    assert (seen(policy, x) == 0).all()


def test_e4m3_codes_are_its_finite_numbers() -> None:
    x = np.array([[448.0, 0.3, -0.001, 2.0**-9, 17.0]])
    expected = x.astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    assert (seen(Quantize("fp8"), x) == expected).all()


@pytest.mark.parametrize("policy", FORMATS)
def test_rows_are_independent(policy: Quantize) -> None:
    x = rows(5)
    assert (seen(policy, x[7:9]) == seen(policy, x)[7:9]).all()


def test_a_format_that_is_none() -> None:
    with pytest.raises(ValueError, match="int8 or fp8"):
        Quantize("int4")
