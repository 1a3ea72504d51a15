"""Measures peers in turn: every peer once a round, so that a slow minute of the machine meets all of them."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """`prefill` of `tokens`, or `decode` of `tokens` on top of `context`."""

    case: str
    tokens: int
    context: int = 0

    def __str__(self) -> str:
        return f"prefill {self.tokens}" if self.case == "prefill" else f"decode at {self.context}"


@dataclass(frozen=True)
class Result:
    """Seconds of a token over the rounds."""

    peer: str
    case: Case
    median: float
    min: float
    max: float
    rounds: int

    def json(self) -> dict:
        return {**asdict(self), "case": asdict(self.case), "tokens_per_second": 1 / self.median}


class Process:
    """A peer that answers requests on its standard input, see peer_process.py."""

    def __init__(self, command: Iterable[str | Path]) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version: str = self._answer()["version"]

    def measure(self, case: Case) -> float:
        """Seconds of a token."""
        self._process.stdin.write(json.dumps(asdict(case)) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["seconds"] / answer["tokens"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._process.args)}: ended with status {self._process.wait()}")
        return json.loads(line)


def python_peer(kind: str, model: Path, threads: int) -> Process:
    return Process([sys.executable, HERE / "peer_process.py", kind, model, str(threads)])


def measure_interleaved(
    peers: Mapping[str, Process],
    cases: Iterable[Case],
    rounds: int,
    skip: Callable[[str, Case], bool] = lambda peer, case: False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Case by case: one round to warm up, then `rounds` that count."""
    results = []
    for case in cases:
        names = [name for name in peers if not skip(name, case)]
        samples: dict[str, list[float]] = {name: [] for name in names}
        for step in range(rounds + 1):
            for name in names:
                progress(f"{case}: {name}, round {step} of {rounds}")
                seconds = peers[name].measure(case)
                if step:
                    samples[name].append(seconds)
        for name in names:
            times = samples[name]
            results.append(Result(name, case, statistics.median(times), min(times), max(times), rounds))
    return results
