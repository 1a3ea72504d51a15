"""Reads a policy file, the same that the compiler takes, into the oracles' policies.

    version: 1
    rules:                      # later rules win
      - layers: 1-              # all | 3 | 2- | 0-4
        attention: {page_topk: {page: 16, budget: 64}}
        kv: {h2o: {heavy: 32, recent: 32, heads: [0]}}
"""

from typing import Any

import yaml

from .h2o import H2O
from .model import KVPolicy, LayerPolicy
from .page_topk import PageTopK
from .streaming import Streaming

KV = {"streaming": Streaming, "h2o": H2O}


def parse_policies(text: str, layers: int) -> list[LayerPolicy]:
    """One policy a layer; a layer that no rule names is dense."""
    content = yaml.safe_load(text) or {}
    if content.get("version") != 1:
        raise ValueError("version: 1 expected")
    attention: list[PageTopK | None] = [None] * layers
    kv: list[dict[str, Any]] = [{}] * layers
    for rule in content.get("rules", []):
        for layer in _range(rule.get("layers", "all"), layers):
            if "attention" in rule:
                attention[layer] = _page_topk(rule["attention"])
            if "kv" in rule:
                kv[layer] = rule["kv"]
    return [_layer(one, methods) for one, methods in zip(attention, kv, strict=True)]


def _range(value: str | int, count: int) -> range:
    if value == "all":
        return range(count)
    first, dash, last = str(value).partition("-")
    stop = int(last) + 1 if last else count if dash else int(first) + 1
    return range(int(first), min(stop, count))


def _page_topk(methods: dict[str, Any]) -> PageTopK:
    (name, parameters), *more = methods.items()
    if name != "page_topk" or more:
        raise ValueError(f"attention: page_topk expected, got {', '.join(methods)}")
    return PageTopK(**(parameters or {}))


def _layer(attention: PageTopK | None, methods: dict[str, Any]) -> LayerPolicy:
    everywhere: KVPolicy | None = None
    by_head: dict[int, KVPolicy] = {}
    for name, parameters in methods.items():
        parameters = dict(parameters or {})
        heads = parameters.pop("heads", [])
        if parameters.pop("prefill", "dense") != "dense":
            raise ValueError("only prefill: dense has an oracle")
        policy = KV[name](**parameters)
        if not heads:
            everywhere = policy
        by_head |= dict.fromkeys(heads, policy)
    return LayerPolicy(attention, everywhere, by_head)
