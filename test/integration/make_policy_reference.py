#!/usr/bin/env python3
"""Writes what the NumPy oracles answer for a decoder under a policy file.

    make_policy_reference.py DIR --policy policy.yaml --prefill 40 --out ref.safetensors --random 1 --length 120

DIR is a folder of a model script. The first --prefill ids of a row are fed as a prompt, the others one by one, as
`sparse-run verify --prefill` does. The file holds `ids` I64 [B, S] and `logits` F32 [B, S, V], and of every decode
step what the policies did, -1 where there is nothing:

    kept.LAYER      I32 [B, steps, Hk, ...]      positions in the cache after the step, ascending
    pages.LAYER     I32 [B, steps, H, ...]       pages that a query head read, ascending; none: all of them
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import model_files
import token_rows
from common.config import LlamaConfig
from oracles.dense import Network
from oracles.model import Decoder, HeadTrace, LayerPolicy
from oracles.policy_file import parse_policies

Trace = list[list[HeadTrace]]


def run_row(
    network: Network, policies: list[LayerPolicy], ids: np.ndarray, prefill: int, chunk: int | None
) -> tuple[np.ndarray, list[Trace]]:
    """Logits [S, V] and the trace of every decode step."""
    decoder = Decoder(network, policies)
    rows = [decoder.prefill(ids[:prefill], chunk)] if prefill else []
    traces = []
    for token in ids[prefill:]:
        rows.append(decoder.decode(int(token))[None])
        traces.append(decoder.trace)
    return np.concatenate(rows), traces


def padded(lists: list) -> np.ndarray:
    """Nested lists of one depth, ragged at the end, as an I32 array filled up with -1."""

    def width(item) -> int:
        return max(map(width, item), default=0) if isinstance(item, list) else len(item)

    def fill(item, size: int) -> np.ndarray:
        if isinstance(item, list):
            return np.stack([fill(one, size) for one in item])
        return np.concatenate([item, np.full(size - len(item), -1)]).astype(np.int32)

    return fill(lists, width(lists))


def traced(rows: list[list[Trace]], layers: int, group: int) -> dict[str, np.ndarray]:
    nothing = [np.empty(0, np.int32)] * group
    result = {}
    for layer in range(layers):
        heads = [[step[layer] for step in row] for row in rows]
        result[f"kept.{layer}"] = padded([[[h.kept for h in step] for step in row] for row in heads])
        pages = [[[p for h in step for p in h.pages or nothing] for step in row] for row in heads]
        result[f"pages.{layer}"] = padded(pages)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="default: dense")
    parser.add_argument("--prefill", type=int, required=True, metavar="N", help="ids of the prompt")
    parser.add_argument("--chunk", type=int, metavar="N", help="ids of a chunk of the prompt (default: all)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64", help="(default: float64)")
    token_rows.add_options(parser)
    arguments = parser.parse_args()

    config = LlamaConfig.load(arguments.directory)
    try:
        ids = token_rows.read_rows(arguments, config.vocab)
        text = arguments.policy.read_text() if arguments.policy else "version: 1"
        policies = parse_policies(text, config.layers, config.kv_heads)
    except ValueError as error:
        parser.error(str(error))
    model = next(iter(sorted(arguments.directory.glob("model.*.onnx"))))
    network = Network(config, model_files.read_weights(model, config), np.dtype(arguments.dtype).type)
    results = [run_row(network, policies, row, arguments.prefill, arguments.chunk) for row in ids]
    answer = {"ids": ids, "logits": np.stack([logits for logits, _ in results]).astype(np.float32)}
    if arguments.prefill < ids.shape[1]:
        answer |= traced([traces for _, traces in results], config.layers, config.heads // config.kv_heads)
    save_file(answer, arguments.out)


if __name__ == "__main__":
    main()
