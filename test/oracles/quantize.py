"""Keys and values in eight bits (docs/methods/quantize.md): a scale for each slot and KV head.

`x̂ = code · s` with `s = max|x| / m` rounded to f16 within its normal numbers, and `code = x / s` rounded to an integer
(int8, m = 127) or to E4M3 (fp8, m = 448), ties to even, saturating.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

Array = np.ndarray

GREATEST = {"int8": 127, "fp8": 448}
LEAST_SCALE, GREATEST_SCALE = 2.0**-14, 65504.0


@dataclass(frozen=True)
class Quantize:
    format: str = "int8"

    def __post_init__(self) -> None:
        if self.format not in GREATEST:
            raise ValueError(f"format must be int8 or fp8, not {self.format}")


def scales(policy: Quantize, rows: Array) -> Array:
    """[n, d] → [n, 1], in the dtype of the rows."""
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    clipped = np.clip(largest / GREATEST[policy.format], LEAST_SCALE, GREATEST_SCALE)
    return clipped.astype(np.float16).astype(rows.dtype)


def codes(policy: Quantize, rows: Array) -> Array:
    """[n, d] → the same as whole numbers, or as E4M3."""
    most = GREATEST[policy.format]
    units = np.clip(rows / scales(policy, rows), -most, most)
    return np.rint(units).astype(np.int8) if policy.format == "int8" else units.astype(ml_dtypes.float8_e4m3fn)


def seen(policy: Quantize, rows: Array) -> Array:
    """What readers see of rows [n, d]."""
    if len(rows) == 0:
        return rows
    return codes(policy, rows).astype(rows.dtype) * scales(policy, rows)
