#!/usr/bin/env python3
"""Accepts or refuses a build by what it does on SmolLM2.

    smollm2.py DIR --text FILE --sparse-opt PATH --sparse-run PATH --library PATH --artifacts DIR [--only CHECK...]

DIR is a folder of examples/smollm2/make_smollm2.py, FILE a long text (test/integration/long_text.py). Artifacts are
compiled into --artifacts and kept there. Exits with 1 when a check fails.
"""

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import setup  # isort: skip  puts the other folders on the path
import check_batch
import check_bf16
import check_greedy
import check_memory
import check_whole
from smollm2_artifacts import Artifacts, add_options

CHECKS = {
    "greedy": check_greedy.run,
    "bf16": check_bf16.run,
    "whole-16": partial(check_whole.run, page=16),
    "whole-32": partial(check_whole.run, page=32),
    "batch": check_batch.run,
    "memory": check_memory.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--sparse-run", type=Path, required=True, metavar="PATH")
    parser.add_argument("--library", type=Path, required=True, metavar="PATH", help="libsparse_runtime.so")
    names = ", ".join(CHECKS)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="CHECK", help=names)
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    arguments = parser.parse_args()
    os.environ["SPARSE_RUNTIME_LIBRARY"] = str(arguments.library.resolve())

    artifacts = Artifacts(arguments.directory, arguments.sparse_opt, arguments.artifacts)
    results = []
    with tempfile.TemporaryDirectory() as work:
        bench = setup.Setup(
            arguments.directory, artifacts, arguments.sparse_run, arguments.text, Path(work), arguments.threads
        )
        for name in arguments.only:
            for result in CHECKS[name](bench):
                print(result, flush=True)
                results.append(result)
    failed = sum(not result.passed for result in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
