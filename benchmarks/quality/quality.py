#!/usr/bin/env python3
"""How much of the dense model's quality sparse methods keep on SmolLM2: perplexity, KL divergence, likeliest token.

    quality.py DIR --text FILE --sparse-opt PATH --library PATH --artifacts DIR [--json FILE]

DIR is a folder of examples/smollm2/make_smollm2.py, FILE a long text (test/integration/long_text.py). The methods act
in decode steps, so only the first --prefill tokens, no more than their budget, go in as a prompt; all others are fed
one by one, whatever the model would have said. KL is of the method's distribution from the dense one, in nats a token.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "python")]

from smollm2_artifacts import Artifacts, add_options  # noqa: E402

BLOCK = 256  # rows of logits held at once
METHODS = ("quest-1024", "quest-sinks-1024", "h2o-1024", "streaming-1024")


@dataclass(frozen=True)
class Row:
    """One artifact over the positions from `first` on."""

    artifact: str
    first: int
    positions: int
    perplexity: float
    kl: float
    kl_max: float
    top1: float
    kv_bytes: int


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)


def write_logits(model, ids: np.ndarray, prefill: int, out: np.ndarray, threads: int) -> int:
    """Logits of every position; gives the bytes of the cache at the end."""
    context = model.context(max_sequences=1, threads=threads)
    with context.sequence() as sequence:
        hidden = sequence.prefill(ids[:prefill], all_hidden=True)
        for start in range(0, prefill, BLOCK):
            part = hidden[start : start + BLOCK]
            out[start : start + len(part)] = context.logits(part)
        for position in range(prefill, len(ids)):
            out[position] = sequence.decode(ids[position])
            if sys.stderr.isatty() and position % 16 == 0:
                print(f"\r\033[K{position} of {len(ids)}", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        return sequence.usage().kv_bytes


def compare(logits: np.ndarray, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Per position: negative log-likelihood of the next token (none for the last), KL, same likeliest token."""
    result = np.empty((len(ids), 3))
    for start in range(0, len(ids), BLOCK):
        rows = slice(start, min(start + BLOCK, len(ids)))
        own, reference = log_softmax(logits[rows]), log_softmax(dense[rows])
        following = np.append(ids, 0)[rows.start + 1 : rows.stop + 1]
        result[rows, 0] = -own[np.arange(len(own)), following]
        result[rows, 1] = (np.exp(reference) * (reference - own)).sum(axis=-1, dtype=np.float64)
        result[rows, 2] = own.argmax(axis=-1) == reference.argmax(axis=-1)
    result[-1, 0] = np.nan
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--library", type=Path, required=True, metavar="PATH", help="libsparse_runtime.so")
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", help=" ".join(METHODS))
    parser.add_argument("--length", type=int, default=4096, metavar="N", help="tokens of text (default: 4096)")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N ids (default: 0)")
    parser.add_argument("--prefill", type=int, default=1024, metavar="N", help="tokens of the prompt (default: 1024)")
    parser.add_argument("--from", dest="starts", nargs="+", type=int, default=[0, 1024], metavar="N",
                        help="positions from which to average (default: 0 1024: where budgets bind)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    os.environ["SPARSE_RUNTIME_LIBRARY"] = str(arguments.library.resolve())
    import sparse_opt
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(arguments.directory / "tokenizer.json"))
    text = arguments.text.read_text(encoding="utf-8")[: 10 * (arguments.skip + arguments.length)]
    ids = np.array(tokenizer.encode(text).ids[arguments.skip :][: arguments.length])
    artifacts = Artifacts(arguments.directory, arguments.sparse_opt, arguments.artifacts)
    rows = []
    print(f"{'artifact':<16} {'from':>5} {'perplexity':>10} {'KL':>9} {'KL max':>8} {'top-1':>7} {'KV MB':>7}")
    with tempfile.TemporaryDirectory(dir=arguments.artifacts) as work:
        logits = {}
        for name in ("dense", *arguments.methods):
            model = sparse_opt.load(artifacts.get(name), verify=False)
            which = "dense" if name == "dense" else "other"
            logits[which] = np.memmap(Path(work) / which, np.float32, "w+", shape=(len(ids), model.vocab))
            prefill = len(ids) if name == "dense" else arguments.prefill
            kv_bytes = write_logits(model, ids, prefill, logits[which], arguments.threads)
            figures = compare(logits[which], logits["dense"], ids)
            for first in arguments.starts:
                nll, kl, same = figures[first:].T
                row = Row(
                    *(name, first, len(kl), float(np.exp(np.nanmean(nll)))),
                    *(float(kl.mean()), float(kl.max()), float(same.mean()), kv_bytes),
                )
                rows.append(row)
                print(
                    f"{row.artifact:<16} {row.first:>5} {row.perplexity:>10.4f} {row.kl:>9.2e} {row.kl_max:>8.3f} "
                    f"{row.top1:>7.2%} {row.kv_bytes / 1e6:>7.1f}",
                    flush=True,
                )
    if arguments.json:
        options = {"length": arguments.length, "skip": arguments.skip, "prefill": arguments.prefill}
        arguments.json.write_text(json.dumps({**options, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
