"""H2O: keep the tokens that gathered most attention, and the most recent (arXiv 2306.14048; methods.md §7, §14.3).

Everything here is about one KV head. `mass` is the attention a slot gathered so far: the sum over all queries since it
was appended, and over the query heads of the group.
"""

from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class H2O:
    """`heavy` slots by mass and `recent` by position. `recent ≥ 1`, so that no token is evicted by its own step.

    `prefill`: the budget holds from the end of a prompt (dense), or from the end of each of its chunks (chunked). With
    `over` both budgets are shares of the current length: they are what they say from `over` tokens on, and less before.
    """

    heavy: int = 512
    recent: int = 512
    prefill: str = "dense"
    over: int = 0
    least: int = 0

    def __post_init__(self) -> None:
        if self.heavy < 0 or self.recent < 1:
            raise ValueError("heavy must not be negative, recent must be at least 1")
        if self.prefill not in ("dense", "chunked"):
            raise ValueError(f"prefill must be dense or chunked, not {self.prefill}")
        if self.over == 0 and self.least != 0:
            raise ValueError("least needs over")
        if self.over and not self.least <= self.cap <= self.over:
            raise ValueError("a budget grows from least to itself over at least as many tokens")

    @property
    def fewest(self) -> int:
        """Slots that stay in any context."""
        return max(self.least, 1)

    @property
    def cap(self) -> int:
        """Most slots kept between steps."""
        return self.heavy + self.recent

    def at(self, length: int) -> "H2O":
        """The policy with the constant budgets that it has after `length` tokens."""
        if self.over == 0:
            return self
        cap = max(self.fewest, min(self.cap, self.cap * length // self.over))
        recent = max(1, min(self.recent, self.recent * length // self.over))
        return replace(self, heavy=cap - recent, recent=recent, over=0, least=0)


def gathered_mass(weights: Array) -> Array:
    """Attention weights [rows, group, n] → what each key gathered, [n]; rows are real queries only."""
    return weights.sum(axis=(0, 1))


def kept_after_prefill(policy: H2O, mass: Array, positions: Array) -> Array:
    """Bool [n]: the last `recent` by position, and of the others the `heavy` with most mass, ties to the older.

    (methods.md §7.2 item 1, the tie by §0.4 rule 4)
    """
    order = np.argsort(positions)
    kept = np.zeros(len(mass), bool)
    split = max(0, len(order) - policy.recent)
    kept[order[split:]] = True
    older = order[:split]
    kept[older[np.argsort(-mass[older], kind="stable")][: policy.heavy]] = True
    return kept


def victim(policy: H2O, mass: Array, positions: Array) -> int | None:
    """Index of the slot that a decode step evicts after its attention, if the live slots exceed the budget.

    Least mass outside the most recent, ties to the older (methods.md §7.2 item 2).
    """
    if len(mass) <= policy.cap:
        return None
    older = np.argsort(positions)[: len(mass) - policy.recent]
    return int(older[np.argmin(mass[older])])


def mass_from_logsumexp(q: Array, keys: Array, visible: Array, tile: int) -> Array:
    """`gathered_mass` in two passes over tiles of keys, without the weights of a whole row (methods.md §7.4).

    q [rows, group, d], keys [n, d], visible bool [rows, n] → [n]. A query that sees no key is not allowed.
    """
    scale = 1 / np.sqrt(q.dtype.type(q.shape[-1]))

    def scores(start: int) -> Array:
        block = np.einsum("rgd,nd->rgn", q, keys[start : start + tile]) * scale
        return np.where(visible[:, None, start : start + tile], block, -np.inf)

    lse = np.full(q.shape[:2], -np.inf)
    for start in range(0, len(keys), tile):
        lse = np.logaddexp(lse, np.logaddexp.reduce(scores(start), axis=-1))
    blocks = [np.exp(scores(start) - lse[..., None]).sum(axis=(0, 1)) for start in range(0, len(keys), tile)]
    return np.concatenate(blocks)
