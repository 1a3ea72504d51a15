"""Rows of token ids for references: from a text, from a file of ids, or drawn at random."""

import argparse
from pathlib import Path

import numpy as np


def add_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", type=Path, metavar="FILE", help="text to tokenize; needs --tokenizer")
    source.add_argument("--ids", type=Path, metavar="FILE", help="ids, separated by white space")
    source.add_argument("--random", type=int, metavar="SEED", help="random ids below the vocabulary")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="tokenizer.json")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N ids (default: 0)")
    parser.add_argument("--length", type=int, metavar="N", help="ids of a row (default: all)")
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="rows, one after the other in the source")


def read_rows(arguments: argparse.Namespace, vocab: int) -> np.ndarray:
    """I64 [batch, length]; raises ValueError where the source is too short."""
    batch, length = arguments.batch, arguments.length
    if arguments.random is not None:
        if length is None:
            raise ValueError("--random needs --length")
        return np.random.default_rng(arguments.random).integers(0, vocab, (batch, length), dtype=np.int64)
    if arguments.text:
        from tokenizers import Tokenizer

        if arguments.tokenizer is None:
            raise ValueError("--text needs --tokenizer")
        ids = Tokenizer.from_file(str(arguments.tokenizer)).encode(arguments.text.read_text(encoding="utf-8")).ids
    else:
        ids = [int(word) for word in arguments.ids.read_text().split()]
    ids = ids[arguments.skip :]
    length = length or len(ids) // batch
    if length < 1 or len(ids) < batch * length:
        raise ValueError(f"{batch} x {length} ids wanted, the source has {len(ids)}")
    return np.array(ids[: batch * length], dtype=np.int64).reshape(batch, length)
