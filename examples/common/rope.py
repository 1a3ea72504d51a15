"""Rotary position embedding: frequencies and tables (RoFormer, arXiv 2104.09864)."""

import numpy as np

from .config import LlamaConfig


def inverse_frequencies(config: LlamaConfig) -> np.ndarray:
    """`theta ** (-2i / d)` as f32 [head_dim / 2]."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    return (config.rope_theta**-exponents).astype(np.float32)


def rope_tables(config: LlamaConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine as f32 [max_positions, head_dim / 2].

    The angle is the f32 product of position and frequency, as a graph that computes it on the fly rounds it.
    """
    positions = np.arange(config.max_positions, dtype=np.float32)
    angles = np.outer(positions, inverse_frequencies(config)).astype(np.float64)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
