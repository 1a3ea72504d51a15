"""Random policies that merge what they evict, one in each layer of a small decoder.

Budgets are small: a hundred tokens overflow every one of them. The draws are always the same.
"""

import random
from dataclasses import dataclass

from common.config import LlamaConfig

LAYERS, PAGE = 4, 4
METHODS = ("cam", "d2o")
GROUPS = (1, 3, 4, 8)  # query heads of a KV head


def draw_base(rng: random.Random) -> str:
    """An eviction; the shorter half of the lengths fits some of them."""
    if rng.random() < 0.3:
        return f"streaming: {{sinks: {rng.choice([0, 1, 4])}, window: {rng.choice([7, 14, 23])}}}"
    prefill = rng.choice(["dense", "chunked"])
    return f"h2o: {{heavy: {rng.choice([3, 9, 18])}, recent: {rng.choice([1, 6, 13])}, prefill: {prefill}}}"


def draw_cam(rng: random.Random, kv_heads: int) -> str:
    mode, seed = rng.choice(["bernoulli", "expectation"]), rng.randrange(1000)
    heads = f", heads: [{rng.randrange(kv_heads)}]" if rng.random() < 0.25 else ""
    attention = rng.choice(["gathered", "gathered", "step"])
    followers = rng.choice([1, 3, 8, 32])
    return f"{draw_base(rng)}, cam: {{followers: {followers}, mode: {mode}, attention: {attention}, seed: {seed}{heads}}}"


def draw_d2o(rng: random.Random, kv_heads: int) -> str:
    heavy, recent = rng.choice([4, 9, 18]), rng.choice([1, 6, 13])
    alpha, beta = rng.choice([(0.5, 0.5), (0.3, 0.7), (0.9, 0.1)])
    heads = f", heads: [{rng.randrange(kv_heads)}]" if rng.random() < 0.25 else ""
    return (
        f"d2o: {{heavy: {heavy}, recent: {recent}, sinks: {rng.choice([0, 2, 4])}, "
        f"mode: {rng.choice(['code', 'convex'])}, merge_keys: {rng.choice(['true', 'false'])}, "
        f"alpha: {alpha}, beta: {beta}, prefill: {rng.choice(['dense', 'chunked'])}{heads}}}"
    )


def draw_policy(method: str, rng: random.Random, kv_heads: int) -> str:
    """One rule a layer, and pages to select on half of them."""
    lines = []
    for layer in range(LAYERS):
        kv = {"cam": draw_cam, "d2o": draw_d2o}[method](rng, kv_heads)
        lines.append(f"layers: {layer}, kv: {{{kv}}}")
        if layer % 2:
            group, each = rng.choice(["max", "sum"]), rng.choice(["true", "false"])
            parameters = f"page: {PAGE}, budget: {PAGE * rng.choice([2, 3])}, group: {group}, per_query_head: {each}"
            lines.append(f"layers: {layer}, attention: {{page_topk: {{{parameters}}}}}")
    return "version: 1\nrules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


@dataclass(frozen=True)
class MergingCase:
    """A decoder, its policies (the text of a policy file), and the tokens that a call reads of a prompt."""

    config: LlamaConfig
    policy: str
    chunk: int

    @staticmethod
    def draw(method: str, index: int) -> "MergingCase":
        rng = random.Random(f"{method} {index}")
        group = GROUPS[index % len(GROUPS)]
        kv_heads = 2 if group < 8 else 1
        config = LlamaConfig(layers=LAYERS, heads=kv_heads * group, kv_heads=kv_heads, head_dim=8 * rng.choice([1, 2, 3]),
                             hidden=48, ffn=64, vocab=61, max_positions=256)  # fmt: skip
        return MergingCase(config, draw_policy(method, rng, kv_heads), rng.choice([5, 6, 16]))
