"""Quest: attend to the pages whose key bounds promise the largest logits (arXiv 2406.10774; methods.md §1, §14.1).

Decode only. Everything here is about one KV head: q [group, d], page bounds [P, d], scores [group, P].
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class PageTopK:
    """`budget` counts tokens; `sinks` tokens at the front keep their pages always selected.

    With `over` the budget is a share of what the head holds: it is what it says from `over` tokens on, and less before, but
    at least `least` tokens.
    """

    page: int = 16
    budget: int = 2048
    group: str = "max"
    per_query_head: bool = False
    sinks: int = 0
    over: int = 0
    least: int = 0

    def __post_init__(self) -> None:
        if self.group not in ("max", "sum"):
            raise ValueError(f"group must be max or sum, not {self.group}")
        if self.page < 1 or self.budget < 1 or self.sinks < 0:
            raise ValueError("page and budget must be positive, sinks not negative")
        if self.sinks and self.sink_pages >= self.pages:
            raise ValueError(f"{self.sink_pages} sink pages leave no room for the current page in {self.pages}")
        if self.over == 0 and self.least != 0:
            raise ValueError("least needs over")
        if self.over and not self.least <= self.budget <= self.over:
            raise ValueError("a budget grows from least to itself over at least as many tokens")

    def at(self, live: int) -> "PageTopK":
        """The policy with the constant budget that it has for a head of `live` tokens."""
        if self.over == 0:
            return self
        tokens = max(self.least, min(self.budget, self.budget * live // self.over))
        pages = max(tokens // self.page, self.sink_pages + 1)
        return replace(self, budget=pages * self.page, over=0, least=0)

    @property
    def pages(self) -> int:
        """K, the number of pages that a query reads."""
        return max(1, self.budget // self.page)

    @property
    def sink_pages(self) -> int:
        return -(-self.sinks // self.page)


def page_bounds(keys: Array, page: int) -> tuple[Array, Array]:
    """Channel-wise maximum and minimum of every page of keys [n, d], the last one partial: twice [P, d]."""
    pages = [keys[start : start + page] for start in range(0, len(keys), page)]
    return np.array([p.max(axis=0) for p in pages]), np.array([p.min(axis=0) for p in pages])


def page_scores(q: Array, high: Array, low: Array) -> Array:
    """`u[h, p] = Σ_i max(q_i·high_i, q_i·low_i)`, no less than any `q·k` of the page (methods.md §1.2)."""
    return np.maximum(q[:, None, :] * high, q[:, None, :] * low).sum(axis=-1)


def top_pages(scores: Array, count: int, forced: Iterable[int]) -> Array:
    """The forced pages and the best of the others up to `count`; ties to the lower index; ascending.

    scores [P] → int [min(count, P)].
    """
    chosen = set(forced)
    if len(chosen) > count:
        raise ValueError(f"{len(chosen)} forced pages exceed {count}")
    for page in np.argsort(-scores, kind="stable"):
        if len(chosen) >= min(count, len(scores)):
            break
        chosen.add(int(page))
    return np.array(sorted(chosen))


def select_pages(policy: PageTopK, q: Array, high: Array, low: Array, current: int) -> list[Array] | None:
    """The pages that each query head of the group reads, or None: few enough to read them all.

    `current` is the page that holds the current token (methods.md §1.3). One set for the group unless per_query_head.
    """
    group, pages = len(q), len(high)
    if pages <= policy.pages:
        return None
    forced = {current, *range(policy.sink_pages)}
    scores = page_scores(q, high, low)
    if policy.per_query_head:
        return [top_pages(row, policy.pages, forced) for row in scores]
    reduced = scores.max(axis=0) if policy.group == "max" else scores.sum(axis=0)
    return [top_pages(reduced, policy.pages, forced)] * group


def slots_of(pages: Array, page: int, slots: int) -> Array:
    """Bool [slots]: the slot lies in one of the pages."""
    return np.isin(np.arange(slots) // page, pages)
