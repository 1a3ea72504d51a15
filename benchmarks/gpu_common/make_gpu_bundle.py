#!/usr/bin/env python3
"""Makes the folder from which gpu_decode_step, gpu_prefill and gpu_attention run on a machine with a GPU: kernels and plans,
artifacts of the shape of Llama-3.1-8B without weights, the runtime, the scripts.

    make_gpu_bundle.py --sparse-opt build/default/bin/sparse-opt --runtime build/default/device-runtime --out FOLDER [--keep]

--runtime is a build folder of a runtime without oneDNN, as target `gpu-bundle` leaves one. FOLDER.tar.gz is the
same in one file, at most 50 MB.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("test/gpu", "examples", "examples/shapes")]

from gpu_cases import LINEARS, prefill_case, with_full_steps  # noqa: E402
from make_bundle import compile_cases, llama_cases  # noqa: E402
from make_suite import LIMIT, copy_runtime, git_commit, pack, size  # noqa: E402
from shape_bench import POLICY  # noqa: E402

SCRIPTS = (
    *(HERE / f"{name}.py" for name in ("gpu_parts", "gpu_timing", "gpu_cases", "shape_bench")),
    *sorted((ROOT / "benchmarks" / "gpu_attention").glob("*.py")),
    *(ROOT / "benchmarks" / name / f"{name}.py" for name in ("gpu_decode_step", "gpu_prefill")),
    ROOT / "test" / "gpu" / "run_suite.py",
)
BF16 = ("--weights=none", "--weights-dtype=bf16")
SHAPE = (*BF16, "--kv-dtype=bf16", "--max-context=131200", "--prefill-chunk=2048", "--buckets=1")


def make_kernels(sparse_opt: Path, out: Path, target: str) -> None:
    """Kernels, plans and cases; replaces the folder."""
    finished = llama_cases()
    selecting = next(case for case in finished if case.name == "quest_32k")
    steps = with_full_steps(finished)
    cases = [*steps, *(case for case in finished if case not in steps), prefill_case(selecting)]
    entries = "".join(linear.entry() for linear in LINEARS)
    compile_cases(sparse_opt, cases, out, target, entries, BF16)


def make_shapes(sparse_opt: Path, out: Path, target: str, kept: Path | None) -> None:
    """The artifacts whose tokens are timed; those in `kept` are taken over."""
    from make_shape import SHAPES, make_shape

    with tempfile.TemporaryDirectory() as scratch:
        model = make_shape(Path(scratch), SHAPES["llama-3.1-8b"])
        for name, policy in POLICY.items():
            artifact = f"{name}.spx"
            if kept and (kept / artifact / "manifest.json").exists():
                shutil.move(kept / artifact, out / artifact)
                continue
            command = [str(sparse_opt), "compile", model.name, f"--target=cuda:{target}", *SHAPE, *policy]
            subprocess.run([*command, "-o", str(out / artifact)], check=True, cwd=scratch)
            print(artifact, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparse-opt", type=Path, required=True, metavar="PATH", help="the compiler")
    parser.add_argument("--runtime", type=Path, required=True, metavar="DIR", help="build folder of a runtime without oneDNN")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the bundle; it is replaced")
    parser.add_argument("--target", default="sm_90a", help="architecture (default: sm_90a)")
    parser.add_argument("--keep", action="store_true", help="keep the artifacts of FOLDER, which take minutes to compile")
    arguments = parser.parse_args()
    out, sparse_opt = arguments.out.resolve(), arguments.sparse_opt.resolve()
    if out.exists() and not (out / "bundle.json").exists() and any(out.iterdir()):
        parser.error(f"{out} is there and is no bundle")
    kept = out.with_name(out.name + ".kept")
    shutil.rmtree(kept, ignore_errors=True)
    if arguments.keep and out.exists():
        out.rename(kept)
    make_kernels(sparse_opt, out, arguments.target)
    (out / "bundle.json").write_text("{}")  # so that an unfinished bundle may be replaced
    copy_runtime(arguments.runtime, out, tests=False)
    make_shapes(sparse_opt, out, arguments.target, kept if arguments.keep else None)
    shutil.rmtree(kept, ignore_errors=True)
    for script in SCRIPTS:
        shutil.copy(script, out / script.name)
    facts = {"target": arguments.target, "made_from": git_commit()}
    (out / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n")
    archive = pack(out)
    print(f"{size(out) / 1e6:.1f} MB in {out}, {archive.stat().st_size / 1e6:.1f} MB in {archive}")
    if max(size(out), archive.stat().st_size) > LIMIT:
        print(f"that is more than {LIMIT / 1e6:.0f} MB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
