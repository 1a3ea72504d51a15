"""D2O: heavy hitters, recent tokens and sinks stay; an evicted token merges into the one with the most similar key, or is
lost (arXiv 2406.13035; methods.md §9, §14.5).

The eviction is H2O's, with the first tokens forced. Similarities are per KV head; the threshold is one of a layer. With
`budgets="variance"` the layers share what they keep: a layer where the attention of the first prompt fell more evenly
gets more (methods.md §9.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .h2o import H2O

Array = np.ndarray
EPSILON = 1e-6


@dataclass(frozen=True)
class D2O(H2O):
    """`heavy` counts the sinks. `mode`: code (the authors' mean) or convex; `keys`: keys merge too, or values alone."""

    sinks: int = 4
    mode: str = "code"
    merge_keys: bool = True
    alpha: float = 0.5
    beta: float = 0.5
    budgets: str = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budgets not in ("uniform", "variance"):
            raise ValueError(f"budgets must be uniform or variance, not {self.budgets}")
        if self.budgets == "variance" and (self.prefill != "dense" or self.over):
            raise ValueError("budgets of layers need the whole prompt, and do not grow")
        if self.mode not in ("code", "convex"):
            raise ValueError(f"mode must be code or convex, not {self.mode}")
        if not 0 <= self.sinks <= self.heavy:
            raise ValueError("sinks must not be negative, heavy must hold them")

    @property
    def fewest(self) -> int:
        """Room for the sinks and as many recent tokens as there are when the heavy hitters are fewer than the sinks."""
        recent = self.recent * self.sinks // self.heavy if self.heavy else 0
        return max(self.least, self.sinks + max(1, recent))

    @property
    def most(self) -> int:
        """What a layer can get of the budget that it shares with others: a softmax over [0, 1] varies by e."""
        return math.ceil(math.e * self.cap)

    def share(self, share: float, length: int) -> int:
        """The slots that heads of a layer with this share (1 on average) keep after a prompt of `length` tokens."""
        wanted = math.floor(share * self.cap + 0.5)
        return min(self.most, max(wanted, length // 100, self.fewest))

    def keeping(self, slots: int) -> "D2O":
        """The policy with this budget, divided as its own is."""
        recent = max(1, slots * self.recent // self.cap)
        return replace(self, heavy=slots - recent, recent=recent, budgets="uniform")


def spread(masses: Sequence[Array]) -> float:
    """How unevenly attention falls in a layer: the variance over positions of what the tokens of a prompt received, for
    each head, scaled to [0, 1] over the heads, and their mean."""
    variances = np.array([mass.var(ddof=1) if len(mass) > 1 else 0.0 for mass in masses])
    return float(((variances - variances.min()) / (np.ptp(variances) + EPSILON)).mean())


def shares(spreads: Sequence[float]) -> Array:
    """Of every layer, of what all keep; 1 on average."""
    weights = np.exp(-np.asarray(spreads))
    return weights / weights.sum() * len(weights)


def forced(policy: D2O, mass: Array, positions: Array) -> Array:
    """The mass with the sinks above all others."""
    return np.where(positions < policy.sinks, np.inf, mass)


def nearest(gone: Array, kept: Array) -> tuple[Array, Array]:
    """Of every row of `gone` [E, d] the row of `kept` [R, d] with the greatest cosine, ties to the first; and that cosine."""
    one = gone / np.maximum(np.linalg.norm(gone, axis=-1, keepdims=True), EPSILON)
    two = kept / np.maximum(np.linalg.norm(kept, axis=-1, keepdims=True), EPSILON)
    cosines = one @ two.T
    return cosines.argmax(axis=-1), cosines.max(axis=-1)


def next_threshold(policy: D2O, threshold: float | None, similarity: Array) -> float:
    """After a step that evicted tokens of these similarities, in all heads: it decides on them already."""
    mean = float(similarity.mean())
    return mean if threshold is None else policy.alpha * threshold + policy.beta * mean


def merge_rows(policy: D2O, kept: Array, gone: Array, target: Array, similarity: Array, threshold: float) -> Array:
    """`kept` [R, d] after the rows of `gone` that are similar enough went into their targets."""
    total, divisor = kept.copy(), np.ones(len(kept), kept.dtype)
    for row, t, s in zip(gone, target, similarity, strict=True):
        if s < threshold:
            continue
        weight = s if policy.mode == "code" else max(s, 0)
        total[t] += weight * row
        divisor[t] += 1 if policy.mode == "code" else weight
    return total / divisor[:, None]
