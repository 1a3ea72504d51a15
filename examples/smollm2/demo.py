#!/usr/bin/env python3
"""Generates text with a dense artifact and a sparse one, and compares them.

    demo.py DENSE.spx SPARSE.spx --text FILE [--question TEXT]

Each model reads the first --context tokens of the text, answers the question about it, and is then fed the tokens of
the text that follow, one by one: what it would have said in their places is compared with what the dense one would.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from prompt import user
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

import sparse_opt  # noqa: E402


@dataclass
class Run:
    """What one model did."""

    name: str
    prompt: int
    prompt_seconds: float
    answer: int
    answer_seconds: float
    kv_bytes: int
    dense_kv_bytes: int
    kept: int
    dense_pages: int
    attended: int
    context: int
    forced_seconds: float
    logits: np.ndarray


def read_pages(model: sparse_opt.Model, counters: list[dict[str, int]]) -> int:
    """KV pages that the next step reads, over all layers and KV heads: the budgets of the policy as compiled."""
    pages = [layer["pages"] for layer in counters]
    for rule in yaml.safe_load(model.policy or "{}").get("rules", []):
        first, _, last = str(rule["layers"]).partition("-")
        for layer in range(int(first), int(last or first) + 1):
            if selection := rule.get("attention", {}).get("page_topk"):
                pages[layer] = min(pages[layer], selection["budget"] // selection["page"] * model.kv_heads)
    return sum(pages)


def run_model(path: Path, document: list[int], forced: list[int], question: str, most: int) -> Run:
    """Prefills the document once; a fork of that sequence reads on while the original answers the question."""
    model = sparse_opt.load(path)
    tokenizer: Tokenizer = model.tokenizer
    opening, closing = user("\0").split("\0")
    head = tokenizer.encode(opening).ids + document
    tail = tokenizer.encode(f"\n\n{question}{closing}").ids
    context = model.context(max_sequences=2)

    sequence = context.sequence()
    start = time.perf_counter()
    sequence.prefill(head)
    prompt_seconds = time.perf_counter() - start
    reader = sequence.fork()

    answer, stream = 0, DecodeStream(skip_special_tokens=True)
    end = tokenizer.token_to_id("<|im_end|>")
    logits = sequence.prefill(tail)
    start = time.perf_counter()
    while answer < most and (token := sparse_opt.Sampling().choose(logits, answer)) != end:
        print(stream.step(tokenizer, token) or "", end="", flush=True)
        logits = sequence.decode(token)
        answer += 1
    answer_seconds = time.perf_counter() - start
    print("\n")
    usage, counters = sequence.usage(), sequence.counters()
    sequence.close()

    rows = []
    start = time.perf_counter()
    for token in forced:
        rows.append(reader.decode(token))
    forced_seconds = time.perf_counter() - start
    return Run(
        name=path.stem,
        prompt=len(head),
        prompt_seconds=prompt_seconds,
        answer=answer,
        answer_seconds=answer_seconds,
        kv_bytes=usage.kv_bytes,
        dense_kv_bytes=usage.dense_bytes,
        kept=sum(layer["pages"] for layer in counters),
        dense_pages=usage.dense_pages,
        attended=read_pages(model, counters),
        context=usage.tokens,
        forced_seconds=forced_seconds,
        logits=np.array(rows),
    )


def divergence(reference: np.ndarray, other: np.ndarray) -> float:
    """Mean KL divergence of the next-token distributions, in nats."""

    def log_softmax(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

    p, q = log_softmax(reference), log_softmax(other)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def table(runs: list[Run]) -> str:
    """One column for each run, agreement with the first."""
    dense = runs[0].logits
    top1 = [(run.logits.argmax(axis=-1) == dense.argmax(axis=-1)).mean() for run in runs]
    rows = [
        ("", [run.name for run in runs]),
        ("context, tokens", [f"{run.context}" for run in runs]),
        ("prompt, tokens/s", [f"{run.prompt / run.prompt_seconds:.1f}" for run in runs]),
        ("generation, tokens/s", [f"{run.answer / run.answer_seconds:.1f}" for run in runs]),
        ("reading on, tokens/s", [f"{len(run.logits) / run.forced_seconds:.1f}" for run in runs]),
        ("KV cache, MB", [f"{run.kv_bytes / 1e6:.1f}" for run in runs]),
        ("  of dense", [f"{run.kv_bytes / run.dense_kv_bytes:.0%}" for run in runs]),
        ("KV pages kept", [f"{run.kept}" for run in runs]),
        ("  attended by a token", [f"{run.attended}" for run in runs]),
        ("  of dense", [f"{run.attended / run.dense_pages:.0%}" for run in runs]),
        ("top-1 as dense", [f"{share:.1%}" for share in top1]),
        ("KL from dense, nats", [f"{divergence(dense, run.logits):.4f}" for run in runs]),
    ]
    return "\n".join(f"{label:<24}" + "".join(f"{cell:>12}" for cell in cells) for label, cells in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.spx", help="the dense one first")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="a text of some length")
    parser.add_argument("--context", type=int, default=3000, metavar="N", help="its tokens in the prompt (3000)")
    parser.add_argument("--forced", type=int, default=128, metavar="N", help="its tokens to compare on (default: 128)")
    parser.add_argument("--question", default="What is this text about? Answer in two sentences.", metavar="TEXT")
    parser.add_argument("-n", "--max-new-tokens", type=int, default=64, metavar="N", help="(default: 64)")
    arguments = parser.parse_args()

    tokenizer = sparse_opt.load(arguments.models[0], verify=False).tokenizer
    ids = tokenizer.encode(arguments.text.read_text(encoding="utf-8")).ids
    wanted = arguments.context + arguments.forced
    if len(ids) < wanted:
        parser.error(f"{arguments.text} has {len(ids)} tokens, {wanted} are wanted")
    document, forced = ids[: arguments.context], ids[arguments.context : wanted]
    runs = []
    for path in arguments.models:
        print(f"--- {path.stem}: {len(document)} tokens of {arguments.text}, then: {arguments.question}", flush=True)
        runs.append(run_model(path, document, forced, arguments.question, arguments.max_new_tokens))
    print(table(runs))


if __name__ == "__main__":
    main()
