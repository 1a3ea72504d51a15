#!/usr/bin/env python3
"""What Quest's choice of pages costs on SmolLM2, and what other choices would: a model of the decode steps in NumPy.

    quest_variants.py DIR --text FILE [--variants NAME...]

DIR is a folder of examples/smollm2/make_smollm2.py, FILE a long text (test/integration/long_text.py). The first
--prefill tokens see everything; each later one sees only the tokens that its variant chooses, as decode steps do, but
many are computed at once. Prints for each variant perplexity, KL from dense, likeliest token, and the share of the true
attention that the chosen tokens have. A variant takes half a minute on two idle processors and 1.5 GB of memory.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "quality"), str(ROOT / "examples"), str(ROOT / "test")]

from common.config import LlamaConfig  # noqa: E402
from oracles.dense import rms_norm, rope_half, silu  # noqa: E402
from quality import compare  # noqa: E402

BLOCK = 512  # rows computed at once
FAR = np.float32(-1e30)


@dataclass(frozen=True)
class Variant:
    """How a step chooses: score of a page by `by`, reduced over the query heads of a KV head by `group`."""

    by: str = "bounds"  # bounds, mean (of the page's keys), weight (the true one), window, dense
    group: str = "max"  # max, sum, softmax (then summed), each
    page: int = 16
    budget: int = 1024
    sinks: int = 0
    recent: int = 0
    dense_layers: int = 2


VARIANTS = {
    "quest": Variant(),
    "sinks": Variant(sinks=4),
    "sinks-recent": Variant(sinks=4, recent=256),
    "page8": Variant(page=8),
    "page32": Variant(page=32),
    "query-head": Variant(group="each"),
    "sum": Variant(group="sum"),
    "softmax": Variant(group="softmax"),
    "dense4": Variant(dense_layers=4),
    "mean": Variant(by="mean", group="sum"),
    "weight": Variant(by="weight", group="sum"),
    "streaming": Variant(by="window", sinks=4, dense_layers=0),
}


def page_scores(v: Variant, queries: np.ndarray, keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[G, rows, pages] of queries [G, rows, d], keys [n, d] and the true weights [G, rows, n]."""
    padding = -len(keys) % v.page
    if v.by == "weight":
        padded = np.pad(weights, ((0, 0), (0, 0), (0, padding)))
        return padded.reshape(*weights.shape[:2], -1, v.page).sum(-1)
    pages = np.pad(keys, ((0, padding), (0, 0)), mode="edge").reshape(-1, v.page, keys.shape[1])
    if v.by == "mean":
        return queries @ pages.mean(1).T
    return np.maximum(queries, 0) @ pages.max(1).T + np.minimum(queries, 0) @ pages.min(1).T


def chosen(v: Variant, first: int, queries: np.ndarray, keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Bool [1 or G, rows, n]: the tokens that the rows from position `first` on read."""
    position = np.arange(first, len(keys))[:, None]
    if v.by == "window":
        token = np.arange(len(keys))
        return ((token < v.sinks) | (token > position - (v.budget - v.sinks)))[None]
    score = page_scores(v, queries, keys, weights)
    page, own = np.arange(score.shape[-1]), position // v.page
    score = np.where(page <= own, score, -np.inf)
    if v.group == "softmax":
        score = np.exp((score - score.max(-1, keepdims=True)) / np.float32(np.sqrt(queries.shape[-1])))
        score /= score.sum(-1, keepdims=True)
    if v.group != "each":
        score = (score.max if v.group == "max" else score.sum)(0, keepdims=True)
    always = (page == own) | (page < -(-v.sinks // v.page)) | ((page <= own) & (page > own - v.recent // v.page))
    score = np.where(always, np.inf, score)
    best = np.argsort(-score, axis=-1, kind="stable")[..., : v.budget // v.page]
    selected = np.zeros(score.shape, bool)
    np.put_along_axis(selected, best, True, -1)
    return np.repeat(selected, v.page, -1)[..., : len(keys)]


class Model:
    """SmolLM2 with a cache of all positions."""

    def __init__(self, directory: Path) -> None:
        import onnx

        model = onnx.load(directory / "model.standard.onnx")
        self.weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
        self.config = LlamaConfig.load(directory)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return rms_norm(x, self.weights[name], self.config.norm_epsilon)

    def rows(self, ids: np.ndarray, first: int, variant: Variant, caches: list, shares: list) -> np.ndarray:
        """Logits of the tokens from `first` on, which are added to the caches."""
        c = self.config
        x, positions = self.weights["model.embed_tokens.weight"][ids], np.arange(first, first + len(ids))
        for layer, (keys, values) in enumerate(caches):
            name = f"model.layers.{layer}."
            h = self._norm(x, name + "input_layernorm.weight")
            q, k, v = (
                (h @ self.weights[f"{name}self_attn.{part}_proj.weight"]).reshape(len(ids), -1, c.head_dim)
                for part in "qkv"
            )
            end = first + len(ids)
            keys[first:end], values[first:end] = rope_half(k, positions, c.rope_theta), v
            sparse = variant if layer >= variant.dense_layers else Variant(by="dense")
            q = rope_half(q, positions, c.rope_theta).reshape(len(ids), c.kv_heads, -1, c.head_dim)
            y = [
                self._attend(sparse, first, q[:, head].swapaxes(0, 1), keys[:end, head], values[:end, head], shares)
                for head in range(c.kv_heads)
            ]
            x = (
                x
                + np.concatenate(y).swapaxes(0, 1).reshape(len(ids), -1)
                @ self.weights[f"{name}self_attn.o_proj.weight"]
            )
            h = self._norm(x, name + "post_attention_layernorm.weight")
            gate, up = (h @ self.weights[f"{name}mlp.{part}_proj.weight"] for part in ("gate", "up"))
            x = x + (silu(gate) * up) @ self.weights[name + "mlp.down_proj.weight"]
        return self._norm(x, "model.norm.weight") @ self.weights["model.embed_tokens.weight"].T

    @staticmethod
    def _attend(
        v: Variant, first: int, q: np.ndarray, keys: np.ndarray, values: np.ndarray, shares: list
    ) -> np.ndarray:
        """[G, rows, d] of one KV head."""
        scores = q @ keys.T * np.float32(q.shape[-1] ** -0.5)
        scores += np.where(np.arange(len(keys)) <= np.arange(first, len(keys))[:, None], np.float32(0), FAR)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        if v.by != "dense":
            weights = weights * chosen(v, first, q, keys, weights)
            share = weights.sum(-1, keepdims=True)
            shares.append(float(share.mean()))
            weights /= share
        return weights @ values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of make_smollm2.py")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME",
                        help=" ".join(VARIANTS))  # fmt: skip
    parser.add_argument("--length", type=int, default=4096, metavar="N", help="tokens of text (default: 4096)")
    parser.add_argument("--prefill", type=int, default=1024, metavar="N", help="a multiple of 512 (default: 1024)")
    arguments = parser.parse_args()
    if arguments.prefill % BLOCK or not 0 < arguments.prefill < arguments.length:
        parser.error(f"--prefill is a multiple of {BLOCK} and shorter than the text")
    from tokenizers import Tokenizer

    text = arguments.text.read_text(encoding="utf-8")[: 10 * arguments.length]
    tokenizer = Tokenizer.from_file(str(arguments.directory / "tokenizer.json"))
    ids = np.array(tokenizer.encode(text).ids[: arguments.length])
    model = Model(arguments.directory)
    shape = (len(ids), model.config.kv_heads, model.config.head_dim)
    caches = [tuple(np.zeros(shape, np.float32) for _ in "kv") for _ in range(model.config.layers)]
    blocks = range(0, len(ids), BLOCK)

    dense = {start: model.rows(ids[start : start + BLOCK], start, Variant(by="dense"), caches, []) for start in blocks}
    dense = np.concatenate([logits for start, logits in dense.items() if start >= arguments.prefill])
    print(f"{'variant':<13} {'perplexity':>10} {'KL':>9} {'KL max':>8} {'top-1':>7} {'weight':>7}")
    later = ids[arguments.prefill :]
    for name in arguments.variants:
        # Prompts are dense, so their rows of the caches stay as they are.
        shares: list[float] = []
        logits = np.concatenate(
            [
                model.rows(ids[start : start + BLOCK], start, VARIANTS[name], caches, shares)
                for start in blocks
                if start >= arguments.prefill
            ]
        )
        nll, kl, same = compare(logits, dense, later).T
        print(
            f"{name:<13} {np.exp(np.nanmean(nll)):>10.4f} {kl.mean():>9.2e} {kl.max():>8.3f} {same.mean():>7.2%} "
            f"{np.mean(shares):>7.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
