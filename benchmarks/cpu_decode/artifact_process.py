"""A compiled artifact as a peer: answers as peer_process.py does.

    artifact_process.py LIBRARY MODEL.spx THREADS

LIBRARY is libsparse_runtime.so. The cache of a context is made up, not read from a prompt, where the model allows it:
a long prompt would take minutes. What is measured runs in a fork of it.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "python")]

from peer_process import prompt


class Artifact:
    def __init__(self, path: Path, threads: int) -> None:
        import sparse_opt

        self._version = f"{sparse_opt.__name__} {sparse_opt.__version__}"
        self._model = sparse_opt.load(path)
        self._context = self._model.context(max_sequences=2, threads=threads)
        self._base = self._context.sequence()

    def prefill(self, tokens: int) -> float:
        ids = prompt(tokens, self._model.vocab)
        with self._context.sequence() as sequence:
            start = time.perf_counter()
            sequence.prefill(ids).argmax()
            return time.perf_counter() - start

    def decode(self, context: int, tokens: int) -> float:
        if len(self._base) != context:
            self._fill(context)
        with self._base.fork() as sequence:
            token = 1
            start = time.perf_counter()
            for _ in range(tokens):
                token = int(sequence.decode(token).argmax())
            return time.perf_counter() - start

    def _fill(self, context: int) -> None:
        from sparse_opt import Unimplemented
        from sparse_opt._library import api, check

        self._base.clear()
        try:
            check(api().sequence_fill_random(self._context._handle, self._base._handle, context, 0))
        except Unimplemented:  # a method that evicts decides by what it reads
            self._base.prefill(prompt(context, self._model.vocab))

    def version(self) -> str:
        return f"{self._version}, {self._model.target}, policy {' '.join(self._model.policy.split()) or 'dense'}"


def main() -> None:
    library, model, threads = sys.argv[1:]
    os.environ["SPARSE_RUNTIME_LIBRARY"] = library
    artifact = Artifact(Path(model), int(threads))
    print(json.dumps({"version": artifact.version()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["case"] == "prefill":
            seconds = artifact.prefill(request["tokens"])
        else:
            seconds = artifact.decode(request["context"], request["tokens"])
        print(json.dumps({"seconds": seconds, "tokens": request["tokens"]}), flush=True)


if __name__ == "__main__":
    main()
