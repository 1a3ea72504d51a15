"""Streaming: the first `sinks` tokens and a window of the last ones (arXiv 2309.17453; methods.md §10.1).

Keys keep the rotation of their original positions. The window includes the current token.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Streaming:
    sinks: int = 4
    window: int = 512

    def __post_init__(self) -> None:
        if self.sinks < 0 or self.window < 1:
            raise ValueError("sinks must not be negative, window must be positive")

    @property
    def cap(self) -> int:
        """Most slots kept between steps."""
        return self.sinks + self.window


def visible(policy: Streaming, query: Array, key: Array) -> Array:
    """Bool, broadcast over positions; causality is the caller's."""
    return (key < policy.sinks) | (query - key < policy.window)


def kept(policy: Streaming, positions: Array) -> Array:
    """Bool [n]: which of the live slots, whose positions these are, stay once the last one was attended."""
    return visible(policy, positions.max(), positions)
