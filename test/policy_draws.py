"""Methods with random parameters, as text of policy files: what the tests against the oracles draw.

Budgets are small: a hundred tokens overflow nearly all of them, and ten fit most.
"""

import random

from common.config import LlamaConfig

# What one layer may do.
KINDS = ("quest", "streaming", "h2o", "quest+streaming", "quest+h2o", "streaming+h2o")
KV_HEADS = 2


def decoder(layers: int, group: int) -> LlamaConfig:
    """A small one with a policy of its own in each layer; `group` query heads share a KV head."""
    return LlamaConfig(layers=layers, heads=KV_HEADS * group, kv_heads=KV_HEADS, head_dim=8, hidden=48, ffn=64, vocab=263,
                       max_positions=256)  # fmt: skip


def growth(rng: random.Random, most: int) -> str:
    """A budget of `most` tokens stays as it is, or grows over up to four times as many."""
    if most == 0 or rng.random() < 0.6:
        return ""
    return f", over: {most * rng.choice([1, 2, 4]) + rng.choice([0, 3])}, least: {rng.choice([0, 1, most // 2, most])}"


def streaming(rng: random.Random, more: str = "") -> str:
    return f"streaming: {{sinks: {rng.choice([0, 1, 4, 7])}, window: {rng.choice([1, 5, 16, 31])}{more}}}"


def h2o(rng: random.Random, more: str = "") -> str:
    heavy, recent = rng.choice([0, 1, 5, 16, 24]), rng.choice([1, 2, 5, 16])
    prefill = rng.choice(["dense", "chunked"])
    return f"h2o: {{heavy: {heavy}, recent: {recent}{growth(rng, heavy + recent)}, prefill: {prefill}{more}}}"


def d2o(rng: random.Random) -> str:
    heavy, recent = rng.choice([5, 12]), rng.choice([2, 5, 16])
    return (
        f"d2o: {{heavy: {heavy}, recent: {recent}, sinks: {rng.choice([0, 2, 4])}, mode: {rng.choice(['code', 'convex'])}, "
        f"prefill: {rng.choice(['dense', 'chunked'])}}}"
    )


def cam(rng: random.Random) -> str:
    return f"cam: {{followers: {rng.choice([1, 3, 8])}, mode: {rng.choice(['bernoulli', 'expectation'])}}}"


def page_topk(rng: random.Random, page: int) -> str:
    pages, sinks = rng.choice([1, 2, 3, 5]), rng.choice([0, 0, 1, page, page + 1])
    sinks = sinks if -(-sinks // page) < pages else 0
    budget = pages * page + rng.choice([0, 0, 1, page - 1])
    group, each = rng.choice(["max", "sum"]), rng.choice(["true", "false"])
    return (
        f"page_topk: {{page: {page}, budget: {budget}{growth(rng, budget)}, group: {group}, per_query_head: {each}, "
        f"sinks: {sinks}}}"
    )


def layer(rng: random.Random, number: int, kind: str, page: int) -> list[str]:
    """The rules of one layer of KV_HEADS heads: one of KINDS."""
    rules = []
    if kind == "streaming+h2o":
        own = rng.randrange(KV_HEADS)
        both = f"{streaming(rng, f', heads: [{own}]')}, {h2o(rng, f', heads: [{1 - own}]')}"
        rules.append(f"layers: {number}, kv: {{{both}}}")
    elif "streaming" in kind:
        rules.append(f"layers: {number}, kv: {{{streaming(rng)}}}")
    elif "h2o" in kind:
        rules.append(f"layers: {number}, kv: {{{h2o(rng)}}}")
    if "quest" in kind:
        rules.append(f"layers: {number}, attention: {{{page_topk(rng, page)}}}")
    return rules


def coded_layer(rng: random.Random, number: int, page: int) -> list[str]:
    """The rules of one layer that stores codes, alone or beneath every other method."""
    under = [lambda _: "", streaming, h2o, lambda r: f"{h2o(r)}, {cam(r)}", d2o][number % 5](rng)
    kv = f"quantize: {{format: {rng.choice(['int8', 'fp8'])}}}" + (f", {under}" if under else "")
    rules = [f"layers: {number}, kv: {{{kv}}}"]
    if rng.random() < 0.4:
        rules.append(f"layers: {number}, attention: {{{page_topk(rng, page)}}}")
    return rules


def lengths(rng: random.Random, count: int) -> list[tuple[int, int]]:
    """Tokens of the prompt, and in all: below every budget and past it, a prompt alone and steps alone."""
    drawn = []
    for _ in range(count):
        prompt = rng.choice([0, 1, 3, 6, 7, 15, 17, 24, 31, 40, 50, 65])
        drawn.append((prompt, prompt + rng.choice([1, 5, 20, 35])))
    return drawn
