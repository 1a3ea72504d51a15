"""Every pair of policies on one layer, and a sample of triples, as text of policy files.

What is legal is what `sparse-opt list-policies --matrix --json` says. Budgets are small: two times twenty tokens overflow
every one of them. The parameters are drawn, but always the same.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

KV_HEADS, PAGE = 2, 4
EVICTING, MERGING = ("d2o", "h2o", "streaming"), ("cam", "d2o")

Matrix = dict[str, list[dict[str, Any]]]

# The parameters of a method that legality does not hang on.
PARAMETERS: dict[str, Callable[[random.Random], str]] = {
    "page_topk": lambda rng: f"page: {PAGE}, budget: {PAGE * rng.choice([2, 3])}, group: {rng.choice(['max', 'sum'])}, "
    f"per_query_head: {rng.choice(['true', 'false'])}",
    "streaming": lambda rng: f"sinks: {rng.choice([0, 2, 4])}, window: {rng.choice([14, 17])}",
    "h2o": lambda rng: f"heavy: {rng.choice([7, 11])}, recent: {rng.choice([6, 9])}",
    "d2o": lambda rng: f"heavy: {rng.choice([8, 11])}, recent: {rng.choice([6, 9])}, sinks: {rng.choice([0, 3])}, "
    f"mode: {rng.choice(['code', 'convex'])}, merge_keys: {rng.choice(['true', 'false'])}",
    "quantize": lambda rng: f"format: {rng.choice(['int8', 'fp8'])}",
    "cam": lambda rng: f"followers: {rng.choice([2, 5])}, mode: {rng.choice(['bernoulli', 'expectation'])}, "
    f"seed: {rng.randrange(1000)}",
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """A method, and the one KV head that it governs; all of them without."""

    method: str
    key: str
    head: int | None = None

    @property
    def heads(self) -> list[int]:
        return list(range(KV_HEADS)) if self.head is None else [self.head]


@dataclass(frozen=True)
class Case:
    """Some methods on one layer. `reason` is why they are refused; empty when they are legal, None when nobody says."""

    uses: tuple[Use, ...]
    reason: str | None

    @property
    def is_coded(self) -> bool:
        return any(use.method == "quantize" for use in self.uses)

    @property
    def name(self) -> str:
        return " + ".join(u.method + ("" if u.head is None else f"[{u.head}]") for u in self.uses)

    def rules(self, layers: str | int) -> str:
        """The keys of a rule for these layers."""
        rng = random.Random(self.name)
        by_key: dict[str, list[str]] = {}
        for use in self.uses:
            heads = "" if use.head is None else f", heads: {use.head}"
            text = f"{{{use.method}: {{{PARAMETERS[use.method](rng)}{heads}}}}}"
            by_key.setdefault(use.key, []).append(text)
        keys = [f"{key}: [{', '.join(methods)}]" for key, methods in by_key.items()]
        return ", ".join([f"layers: {layers}", *keys])


def single(matrix: Matrix) -> Iterator[Case]:
    """Each method alone."""
    for method in matrix["methods"]:
        yield Case((Use(method["name"], method["key"]),), method["alone"].get("reason", ""))


def pairs(matrix: Matrix) -> Iterator[Case]:
    """All pairs in both orders: on the same heads, and on a head of its own each where both can name heads."""
    key = {method["name"]: method["key"] for method in matrix["methods"]}
    for pair in matrix["pairs"]:
        first, second = pair["first"], pair["second"]
        yield Case((Use(first, key[first]), Use(second, key[second])), pair["together"].get("reason", ""))
        if "apart" in pair:
            yield Case((Use(first, key[first], 0), Use(second, key[second], 1)), pair["apart"].get("reason", ""))


def triples(matrix: Matrix, seed: int, count: int) -> Iterator[Case]:
    """A sample of three methods, each on all heads or on one."""
    rng = random.Random(seed)
    for _ in range(count):
        uses = []
        for method in rng.choices(matrix["methods"], k=3):
            head = rng.choice([None, 0, 1]) if method["heads"] else None
            uses.append(Use(method["name"], method["key"], head))
        yield Case(tuple(uses), None)


def legal_layers(matrix: Matrix) -> list[Case]:
    """One case for every layer that a model has to have: what is legal alone and in pairs, caches of codes last. Methods under
    different keys have no order.
    """
    distinct: dict[tuple[Use, ...], Case] = {}
    for case in (*single(matrix), *pairs(matrix)):
        if not case.reason:
            distinct.setdefault(tuple(sorted(case.uses, key=lambda use: use.key)), case)
    return sorted(distinct.values(), key=lambda case: case.is_coded)


def in_groups(cases: list[Case], layers: int) -> list[list[Case]]:
    """Cases for models of so many layers; caches of codes have models of their own."""
    groups: list[list[Case]] = []
    for case in cases:
        if not groups or len(groups[-1]) == layers or groups[-1][0].is_coded != case.is_coded:
            groups.append([])
        groups[-1].append(case)
    return groups
