"""What every check works with."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("benchmarks", "examples", "python")]

from smollm2_artifacts import Artifacts  # noqa: E402


@dataclass
class Setup:
    """Models, artifacts, binaries and the text."""

    models: Path
    artifacts: Artifacts
    runner: Path
    text: Path
    work: Path
    threads: int

    @cached_property
    def ids(self) -> np.ndarray:
        """The text as token ids, I64."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.models / "tokenizer.json"))
        return np.array(tokenizer.encode(self.text.read_text(encoding="utf-8")[:400_000]).ids, np.int64)

    def write_ids(self, ids: np.ndarray) -> Path:
        path = self.work / f"ids-{len(ids)}.txt"
        path.write_text(" ".join(map(str, ids)))
        return path

    def run(self, verb: str, artifact: str, *options: object) -> dict:
        """Runs a verb of sparse-run; gives its JSON. A failed check is an answer, anything else is an error."""
        command = [self.runner, verb, self.artifacts.get(artifact), "--json", "-q", "-t", self.threads, *options]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode > 1:
            raise RuntimeError(f"sparse-run {verb} {artifact} ended with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def load(self, artifact: str):
        """The artifact as a model of the Python package."""
        import sparse_opt

        return sparse_opt.load(self.artifacts.get(artifact), verify=False)
