#!/usr/bin/env python3
"""Measures compiled artifacts of SmolLM2 beside their peers and limits: every row of the table of goals, one command.

    how_fast.py DIR --sparse-opt PATH --library PATH --artifacts DIR [--only GROUP...] [--json FILE]

DIR is a folder of examples/smollm2/make_smollm2.py. Needs onnxruntime, onnxruntime-genai and a C compiler. All that a
row compares takes turns in the same run; the groups run one after the other. Prints a table in Markdown.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from compile_cost import measure_compile
from interleave import HERE, Case, Process, Result, measure_interleaved, python_peer
from peers import PEERS, machine

sys.path[:0] = [str(HERE.parent)]

from smollm2_artifacts import Artifacts, add_options  # noqa: E402
from weights import bytes_of_a_token  # noqa: E402

LONGEST = 32768
NEAR_NOTHING = 8  # a context at which attention costs nothing to speak of
FULL_PEERS = ("genai", "genai-last", "onnxruntime-decomposed", "onnxruntime-standard")


@dataclass(frozen=True)
class Row:
    """A goal: the time of a token over that of what it is compared with, `most` allowed."""

    what: str
    ours: float
    other: float
    against: str
    most: float
    aim: float

    @property
    def ratio(self) -> float:
        """Not a number where a difference of two times drowned in noise."""
        return self.ours / self.other if self.ours > 0 and self.other > 0 else math.nan

    def line(self) -> str:
        verdict = "noise" if math.isnan(self.ratio) else "yes" if self.ratio <= self.most else "**no**"
        times = f"{self.ours * 1e3:.3f} ms | {self.other * 1e3:.3f} ms ({self.against})"
        return f"| {self.what} | {times} | {self.ratio:.2f} | {self.most} | {self.aim} | {verdict} |"


class Bench:
    """Starts processes, measures them in turn, and keeps all results."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.arguments, self.work = arguments, work
        self.artifacts = Artifacts(arguments.directory, arguments.sparse_opt, arguments.artifacts)
        self.results: list[Result] = []
        self.versions: dict[str, str] = {}

    def artifact(self, name: str) -> Process:
        script = HERE / "artifact_process.py"
        library = self.arguments.library.resolve()
        return Process([sys.executable, script, library, self.artifacts.get(name), self.arguments.threads])

    def peer(self, name: str) -> Process:
        kind, model = PEERS[name]
        return python_peer(kind, self.arguments.directory / model, self.arguments.threads)

    def read(self, count: int) -> Process:
        """Reads as many bytes as a token takes."""
        program = self.work / "read_rate"
        source = HERE / "read_rate.c"
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", source, "-o", program], check=True)
        return Process([program, count, self.arguments.threads])

    def measure(
        self, start: dict[str, Callable[[], Process]], cases: list[Case], skip=lambda peer, case: False
    ) -> None:
        """Adds the results of all cases; every process lives as long as all of them."""
        processes: dict[str, Process] = {}
        try:
            for name, launch in start.items():
                processes[name] = launch()
                self.versions[name] = processes[name].version
            for case in cases:
                results = measure_interleaved(processes, [case], self.arguments.rounds, skip, self._progress)
                for r in results:
                    times = f"{r.median * 1e3:.3f} ms ({r.min * 1e3:.3f}-{r.max * 1e3:.3f})"
                    print(f"{r.case}: {r.peer} {times}", file=sys.stderr)
                self.results += results
        finally:
            for process in processes.values():
                process.close()

    def time(self, name: str, case: Case) -> float:
        """Median seconds of a token."""
        return next(r.median for r in self.results if r.peer == name and r.case == case)

    @staticmethod
    def _progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr)


def f32(bench: Bench) -> Iterator[Row]:
    """Decode and prefill against ONNX Runtime and ONNX Runtime GenAI."""
    tokens = bench.arguments.tokens
    near, far, prompt = Case("decode", tokens, 512), Case("decode", tokens, 4096), Case("prefill", 2048)
    start = {"dense": lambda: bench.artifact("dense")}
    peers = bench.arguments.peers
    start |= {name: lambda name=name: bench.peer(name) for name in peers}
    skip = lambda peer, case: peer == "genai-last" and case.case == "decode"  # noqa: E731  it differs in prompts only
    bench.measure(start, [near, far, prompt], skip)
    yield Row("decode, f32, context 512", bench.time("dense", near), bench.time("genai", near), "GenAI", 1.1, 1.0)
    yield Row("decode, f32, 4K dense", bench.time("dense", far), bench.time("genai", far), "GenAI", 1.0, 0.85)
    fastest = min(peers, key=lambda name: bench.time(name, prompt))
    yield Row("prefill 2K, f32", bench.time("dense", prompt), bench.time(fastest, prompt), fastest, 1.3, 1.0)


def bf16(bench: Bench) -> Iterator[Row]:
    """Decode against the time of reading the weights."""
    case = Case("decode", bench.arguments.tokens, 512)
    count = bytes_of_a_token(bench.artifacts.get("dense-bf16") / "weights.safetensors")
    start = {"dense-bf16": lambda: bench.artifact("dense-bf16"), "read": lambda: bench.read(count)}
    bench.measure(start, [case])
    against = f"{count / 1e6:.0f} MB at {count / bench.time('read', case) / 1e9:.1f} GB/s"
    yield Row("decode, bf16, context 512", bench.time("dense-bf16", case), bench.time("read", case), against, 1.5, 1.1)


def quest(bench: Bench, contexts: list[int]) -> None:
    """Quest against dense at each context, and near none."""
    cases = [Case("decode", bench.arguments.tokens, context) for context in [NEAR_NOTHING, *contexts]]
    names = ("long-dense-bf16", "long-quest-bf16")
    bench.measure({name: lambda name=name: bench.artifact(name) for name in names}, cases)


def quest_8k(bench: Bench) -> Iterator[Row]:
    dense, sparse = "long-dense-bf16", "long-quest-bf16"
    near, far = (Case("decode", bench.arguments.tokens, context) for context in (NEAR_NOTHING, 8192))
    quest(bench, [8192])
    parts = (bench.time(name, far) - bench.time(name, near) for name in (sparse, dense))
    yield Row("attention part at 8K, bf16, Quest 1,024", *parts, "dense", 0.4, 0.3)
    times = (bench.time(name, far) for name in (sparse, dense))
    yield Row("whole token at 8K, bf16, Quest 1,024", *times, "dense", 0.85, 0.75)


def quest_32k(bench: Bench) -> Iterator[Row]:
    dense, sparse = "long-dense-bf16", "long-quest-bf16"
    case = Case("decode", bench.arguments.tokens, LONGEST - bench.arguments.tokens)
    quest(bench, [case.context])
    times = (bench.time(name, case) for name in (sparse, dense))
    yield Row("whole token at 32K, bf16, Quest 1,024", *times, "dense", 0.5, 0.42)


def h2o_8k(bench: Bench) -> Iterator[Row]:
    """A quarter of the context, by H2O: the prompt is read, since what stays depends on it."""
    dense, evicting = "long-dense-bf16", "long-h2o-bf16"
    near, far = cases = [Case("decode", bench.arguments.tokens, context) for context in (NEAR_NOTHING, 8192)]
    bench.measure({name: lambda name=name: bench.artifact(name) for name in (dense, evicting)}, cases)
    parts = (bench.time(name, far) - bench.time(name, near) for name in (evicting, dense))
    yield Row("attention part at 8K, bf16, H2O 25 %", *parts, "dense", 0.4, 0.3)


GROUPS = {"f32": f32, "bf16": bf16, "8k": quest_8k, "32k": quest_32k, "h2o": h2o_8k}


def print_results(results: list[Result]) -> None:
    print("\n| case | process | tokens/s | median ms | min | max |\n|---|---|--:|--:|--:|--:|")
    for r in results:
        numbers = " | ".join(f"{value * 1e3:.3f}" for value in (r.median, r.min, r.max))
        print(f"| {r.case} | {r.peer} | {1 / r.median:.1f} | {numbers} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    groups = (*GROUPS, "compile")
    parser.add_argument("--library", type=Path, required=True, metavar="PATH", help="libsparse_runtime.so")
    parser.add_argument("--only", nargs="+", choices=groups, default=groups, metavar="GROUP", help=", ".join(groups))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=FULL_PEERS, metavar="PEER",
                        help=f"of the group f32, genai among them (default: {' '.join(FULL_PEERS)})")  # fmt: skip
    parser.add_argument("--tokens", type=int, default=16, metavar="N", help="decoded in a round (default: 16)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="after one to warm up (default: 5)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()

    report: dict[str, object] = {"machine": machine(), "threads": arguments.threads}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(arguments, Path(work))
        print("| row | ours | other | ratio | must | aim | reached |\n|---|--:|--:|--:|--:|--:|---|", flush=True)
        for name in [name for name in GROUPS if name in arguments.only]:
            for row in GROUPS[name](bench):
                rows.append(row)
                print(row.line(), flush=True)
        if "compile" in arguments.only:
            cost = measure_compile(bench.artifacts, arguments.directory, arguments.rounds)
            report["compile"] = asdict(cost)
            print(cost.lines(), flush=True)
    print_results(bench.results)
    report |= {"load_after": os.getloadavg()[0], "versions": bench.versions}
    report["rows"] = [{**asdict(row), "ratio": row.ratio} for row in rows]
    report["results"] = [result.json() for result in bench.results]
    for name, version in bench.versions.items():
        print(f"- {name}: {version}")
    print(f"- {report['machine']}, load after {report['load_after']:.1f}, {arguments.threads} threads")
    if max(report["machine"]["load_before"], report["load_after"]) > (os.cpu_count() or 1) + arguments.threads:
        print("- the machine was busy with other work: these times decide nothing")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
