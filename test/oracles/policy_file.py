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

What has no oracle is refused. The compiler refuses more: it also knows what one layer can't do at once.
"""

from collections.abc import Sequence
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

ByHead = tuple[dict[int, KVPolicy], dict[int, Cam], Quantize | None]


def parse_policies(text: str, layers: int, kv_heads: int) -> list[LayerPolicy]:
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
                attention[layer] = _page_topk(rule["attention"])
            if "kv" in rule:
                kv[layer] = _kv(rule["kv"], rule.get("heads", []), kv_heads)
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


def _page_topk(methods: dict[str, Any]) -> PageTopK | None:
    (name, parameters), *more = methods.items()
    if name not in ("page_topk", "dense") or more:
        raise ValueError(f"attention: page_topk expected, got {', '.join(methods)}")
    if name == "dense":
        return None
    policy = PageTopK(**(parameters or {}))
    if policy.budget < policy.page:
        raise ValueError("a budget of less than a page")
    return policy


def _kv(methods: dict[str, Any], heads: Any, kv_heads: int) -> ByHead:
    evicting: dict[int, KVPolicy] = {}
    merging: dict[int, Cam] = {}
    named: list[Sequence[int]] = []
    stored: Quantize | None = None
    if "dense" in methods:
        if len(methods) > 1 or heads != []:
            raise ValueError("dense stands alone")
        return evicting, merging, None
    for name, parameters in methods.items():
        parameters = dict(parameters or {})
        if heads != [] and "heads" in parameters:
            raise ValueError("heads stands twice")
        if name == "quantize":
            stored = Quantize(**parameters)
            continue
        # No heads are all heads.
        own = parse_range(parameters.pop("heads", heads), kv_heads) or range(kv_heads)
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
