#!/usr/bin/env python3
"""Writes what ONNX Runtime answers for a decoder: the file that `sparse-run verify --reference` reads.

    make_reference.py MODEL.onnx --out ref.safetensors --text FILE --tokenizer FILE --length 2000
    make_reference.py MODEL.onnx --out greedy.safetensors --ids FILE --generate 64

The file holds `ids` I64 [B, S] and `logits` F32 [B, S, V]. With --generate N the rows are prompts instead, and the
file holds `ids`, `generated` I64 [B, N], the likeliest token each time, and `margin` F32 [B, N], by how much it won.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import model_files  # noqa: F401  puts examples/ on the path
import token_rows
from common.ort import OrtDecoder


def reference_logits(decoder: OrtDecoder, ids: np.ndarray, chunk: int) -> np.ndarray:
    """F32 [B, S, V], fed in chunks: the scores of a whole long row would not fit into memory."""
    return decoder.run(ids, [chunk] * ((ids.shape[1] - 1) // chunk))


def reference_tokens(decoder: OrtDecoder, ids: np.ndarray, count: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy tokens, ties to the lower id, and the margin of each over the next best: I64 and F32 [B, count]."""
    decoder.reset()
    for start in range(0, ids.shape[1], chunk):
        logits = decoder.step(ids[:, start : start + chunk])
    tokens, margins = [], []
    while True:
        last = logits[:, -1]
        best = np.partition(last, -2, axis=-1)
        tokens.append(last.argmax(axis=-1))
        margins.append(best[:, -1] - best[:, -2])
        if len(tokens) == count:
            return np.stack(tokens, axis=1).astype(np.int64), np.stack(margins, axis=1)
        logits = decoder.step(tokens[-1][:, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    token_rows.add_options(parser)
    parser.add_argument("--generate", type=int, metavar="N", help="write N greedy tokens instead of logits")
    parser.add_argument("--chunk", type=int, default=512, metavar="N", help="tokens of one call (default: 512)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="default: all")
    arguments = parser.parse_args()

    decoder = OrtDecoder(arguments.model, arguments.threads)
    try:
        ids = token_rows.read_rows(arguments, decoder.vocab)
    except ValueError as error:
        parser.error(str(error))
    if arguments.generate:
        tokens, margins = reference_tokens(decoder, ids, arguments.generate, arguments.chunk)
        answer = {"generated": tokens, "margin": margins}
    else:
        answer = {"logits": reference_logits(decoder, ids, arguments.chunk)}
    save_file({"ids": ids} | answer, arguments.out)


if __name__ == "__main__":
    main()
