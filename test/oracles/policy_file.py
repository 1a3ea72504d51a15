"""Reads a policy file, the same that the compiler takes, into the oracles' policies.

    version: 1
    rules:                      # later rules win, per layer and key
      - layers: 1-              # all | 3 | 2- | 0-4 | '1,4-6' | [0, 2-]
        attention: {page_topk: {page: 16, budget: 64}}
        kv: {h2o: {heavy: 32, recent: 32, heads: [0]}}
      - layers: 2
        heads: 0-1              # of each kv method of the rule
        kv: {streaming: {}}
      - {layers: 3, attention: {dense: {}}}
      - {layers: 4, kv: [{h2o: {heavy: 25%, heads: 0}}, {h2o: {heavy: 64KiB, heads: 1}}]}

A budget is tokens, a share of the longest context, or bytes of keys and values of one sequence in one layer. What has no
oracle is refused. The compiler refuses more: it also knows what one layer can't do at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import yaml

from .cam import Cam
from .d2o import D2O
from .h2o import H2O
from .model import KVPolicy, LayerPolicy
from .page_topk import PageTopK
from .quantize import Quantize
from .streaming import Streaming

EVICTING = {"streaming": Streaming, "h2o": H2O, "d2o": D2O}
MERGING = {"cam": Cam}

GROWING = ["heavy", "recent", "over", "least"]
BUDGETS = {"page_topk": ["budget", "over", "least"], "streaming": ["window"], "h2o": GROWING, "d2o": GROWING}
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

ByHead = tuple[dict[int, KVPolicy], dict[int, Cam], Quantize | None]


@dataclass(frozen=True)
class Size:
    """What budgets are measured by: the longest context, and the bytes of a token's key and value in one KV head."""

    context: int = 8192
    slot_bytes: int = 128

    def tokens(self, budget: int | str, heads: int) -> int:
        """What a budget is for each of `heads` KV heads."""
        if isinstance(budget, int):
            return budget
        if share := re.fullmatch(r"(\d+(?:\.\d+)?)%", budget):
            if Fraction(share[1]) > 100:
                raise ValueError(f"{budget} is more than the context")
            return int(Fraction(share[1]) * self.context / 100)
        if size := re.fullmatch(r"(\d+)([KMG]iB)", budget):
            return int(size[1]) * UNITS[size[2]] // (self.slot_bytes * heads)
        raise ValueError(f"{budget} is no budget")


SMALL = Size()


def parse_policies(text: str, layers: int, kv_heads: int, size: Size = SMALL) -> list[LayerPolicy]:
    """One policy a layer; a layer that no rule names is dense."""
    content = yaml.safe_load(text) or {}
    _only(content, {"version", "rules"})
    if content.get("version") != 1:
        raise ValueError("version: 1 expected")
    attention: list[PageTopK | None] = [None] * layers
    kv: list[ByHead] = [({}, {}, None)] * layers
    for rule in content.get("rules") or []:
        _only(rule, {"layers", "heads", "attention", "kv"})
        if "heads" in rule and ("attention" in rule or "kv" not in rule):
            raise ValueError("heads restricts kv alone")
        for layer in parse_range(rule.get("layers", "all"), layers):
            if "attention" in rule:
                attention[layer] = _page_topk(rule["attention"], size, kv_heads)
            if "kv" in rule:
                kv[layer] = _kv(rule["kv"], rule.get("heads", []), kv_heads, size)
    return [_layer(one, by_head, kv_heads) for one, by_head in zip(attention, kv, strict=True)]


def parse_range(value: str | int | list, count: int) -> list[int]:
    """Ascending indices below `count`."""
    if isinstance(value, list):
        return sorted({index for part in value for index in parse_range(part, count)})
    if isinstance(value, str) and "," in value:
        return parse_range(value.split(","), count)
    first, dash, last = str(value).strip().partition("-")
    if first == "all" and not dash:
        return list(range(count))
    stop = int(last) + 1 if last else max(count, int(first) + 1) if dash else int(first) + 1
    if not int(first) < stop <= count:
        raise ValueError(f"{value} is no range within 0-{count - 1}")
    return list(range(int(first), stop))


def _only(mapping: dict[str, Any], keys: set[str]) -> None:
    if unknown := mapping.keys() - keys:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")


def _methods(value: dict[str, Any] | list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The methods under a key, in order: of one mapping, or of a list of them."""
    mappings = value if isinstance(value, list) else [value]
    return [(name, dict(parameters or {})) for mapping in mappings for name, parameters in mapping.items()]


def _counted(name: str, parameters: dict[str, Any], size: Size, heads: int) -> dict[str, Any]:
    """The parameters with budgets in tokens."""
    budgets = {key: size.tokens(parameters[key], heads) for key in BUDGETS.get(name, []) if key in parameters}
    return parameters | budgets


def _page_topk(value: dict[str, Any] | list[dict[str, Any]], size: Size, kv_heads: int) -> PageTopK | None:
    methods = _methods(value)
    (name, parameters), *more = methods
    if name not in ("page_topk", "dense") or more:
        raise ValueError(f"attention: page_topk expected, got {', '.join(n for n, _ in methods)}")
    if name == "dense":
        return None
    policy = PageTopK(**_counted(name, parameters, size, kv_heads))
    if policy.budget < policy.page:
        raise ValueError("a budget of less than a page")
    return policy


def _kv(value: dict[str, Any] | list[dict[str, Any]], heads: Any, kv_heads: int, size: Size) -> ByHead:
    methods = _methods(value)
    evicting: dict[int, KVPolicy] = {}
    merging: dict[int, Cam] = {}
    named: list[Sequence[int]] = []
    stored: Quantize | None = None
    if any(name == "dense" for name, _ in methods):
        if len(methods) > 1 or heads != []:
            raise ValueError("dense stands alone")
        return evicting, merging, None
    for name, parameters in methods:
        if heads != [] and "heads" in parameters:
            raise ValueError("heads stands twice")
        if name == "quantize":
            if stored is not None:
                raise ValueError("two methods say what one layer stores")
            stored = Quantize(**parameters)
            continue
        # No heads are all heads.
        own = parse_range(parameters.pop("heads", heads), kv_heads) or range(kv_heads)
        parameters = _counted(name, parameters, size, len(own))
        if name in MERGING:
            if merging.keys() & set(own):
                raise ValueError("two methods merge what one KV head evicts")
            merging |= dict.fromkeys(own, MERGING[name](**parameters))
        else:
            if evicting.keys() & set(own):
                raise ValueError("two methods evict from one KV head")
            evicting |= dict.fromkeys(own, EVICTING[name](**parameters))
        if name in MERGING:
            named.append(own)
    if any(isinstance(evicting.get(head), D2O) for head in merging):
        raise ValueError("two methods merge what one KV head evicts")
    # A method that names heads merges in each of them; one for all heads, wherever something is evicted.
    for own in named:
        evicted = evicting.keys() & set(own)
        if not evicted or len(evicted) < len(own) < kv_heads:
            raise ValueError("nothing evicts from what is to merge")
    return evicting, merging, stored


def _layer(attention: PageTopK | None, kv: ByHead, kv_heads: int) -> LayerPolicy:
    parts: dict[str, Any] = {"quantize": kv[2]}
    for name, by_head in zip(("kv", "merge"), kv[:2], strict=True):
        if len(by_head) == kv_heads and len(set(by_head.values())) == 1:
            parts[name] = by_head[0]
        else:
            parts[f"{name}_by_head"] = by_head
    return LayerPolicy(attention, **parts)
