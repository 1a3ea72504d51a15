#!/usr/bin/env python3
"""Measures how fast ONNX Runtime and ONNX Runtime GenAI run SmolLM2 on the CPU.

    peers.py DIR [--json FILE] [--contexts 512 4096] [--prefill 2048]

DIR is a folder of examples/smollm2/make_smollm2.py. Needs the Python packages onnxruntime and onnxruntime-genai. Each
peer is a process of its own; they take turns, and a peer that waits does nothing. --also NAME=COMMAND adds any process
that answers as peer_process.py does, so that it is measured in the same run.
"""

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path

from interleave import Case, Process, Result, measure_interleaved, python_peer

PEERS = {
    "genai": ("genai", "genai/model.onnx"),
    "genai-last": ("genai", "genai/model.last.onnx"),
    "onnxruntime-decomposed": ("onnxruntime", "model.decomposed.onnx"),
    "onnxruntime-standard": ("onnxruntime", "model.standard.onnx"),
    "onnxruntime-genai-graph": ("onnxruntime", "genai/model.onnx"),
}
DEFAULT = ("genai", "genai-last", "onnxruntime-decomposed", "onnxruntime-standard")


def machine() -> dict[str, object]:
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), model)
    return {"cpu": model, "cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}


def print_table(results: list[Result]) -> None:
    print(f"{'case':<16} {'peer':<24} {'tokens/s':>9} {'median ms':>10} {'min':>8} {'max':>8}")
    for r in results:
        numbers = f"{1 / r.median:>9.1f} {r.median * 1e3:>10.3f} {r.min * 1e3:>8.3f} {r.max * 1e3:>8.3f}"
        print(f"{r.case!s:<16} {r.peer:<24} {numbers}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=DEFAULT, metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND", help="one more peer; repeatable")
    parser.add_argument("--contexts", nargs="*", type=int, default=[512, 4096], metavar="N", help="for decode")
    parser.add_argument("--tokens", type=int, default=16, metavar="N", help="decoded in a round (default: 16)")
    parser.add_argument("--prefill", nargs="*", type=int, default=[2048], metavar="N", help="prompt lengths")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="after one to warm up (default: 5)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()

    cases = [Case("decode", arguments.tokens, context) for context in arguments.contexts]
    cases += [Case("prefill", tokens) for tokens in arguments.prefill]
    report = {"machine": machine(), "threads": arguments.threads}
    peers = {}
    try:
        for name in arguments.peers:
            kind, model = PEERS[name]
            peers[name] = python_peer(kind, arguments.directory / model, arguments.threads)
        for extra in arguments.also:
            name, _, command = extra.partition("=")
            peers[name] = Process(shlex.split(command))
        report["versions"] = {name: peer.version for name, peer in peers.items()}
        results = measure_interleaved(
            peers,
            cases,
            arguments.rounds,
            # the two differ in a prompt's head only
            skip=lambda peer, case: peer == "genai-last" and case.case == "decode" and "genai" in peers,
            progress=lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr) if sys.stderr.isatty() else None,
        )
    finally:
        for peer in peers.values():
            peer.close()
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print_table(results)
    if arguments.json:
        report["results"] = [result.json() for result in results]
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
