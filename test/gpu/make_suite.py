#!/usr/bin/env python3
"""Makes the bundle of the GPU suite: everything that run_suite.py needs on a machine that has neither the compiler nor this
tree nor a package of this project's.

    make_suite.py --sparse-opt build/default/bin/sparse-opt --runtime build/device --out gpu-suite [--corpus DIR]

`cmake --build build/default --target gpu-bundle` builds the runtime for it and calls it. The folder gets the runtime and its
GoogleTests, attention cases (make_bundle.py), tiny models with what they must answer (suite_models.py), and the models of
exporters when the corpus is at hand. FOLDER.tar.xz is the same in one file, at most 50 MB.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "examples"), str(ROOT / "test")]

from make_bundle import compile_cases, random_case, with_dense_twins  # noqa: E402

LIMIT = 50_000_000
SCRIPTS = ("run_suite.py", "model_checks.py")
# What a machine with Python has anyway.
SYSTEM = ("linux-vdso.so", "ld-linux", "libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libgcc_s.so", "libstdc++.so")
BROUGHT = ("libcrypto.so", "libsparse_runtime.so")
FAIL_ON_PURPOSE = ("AFullCardRefusesAndGoesOn", "BadCodeIsRefused")  # a sanitizer reports the calls


def libraries(lines: str) -> dict[str, str]:
    """Name and place of every shared library in what ldd printed."""
    result = {}
    for line in lines.splitlines():
        match = re.match(r"\s*(\S+)(?: => (\S+))?", line)
        if match:
            result[Path(match[1]).name] = match[2] or match[1]
    return result


def card_tests(listing: str) -> list[str]:
    """Those tests in --gtest_list_tests that need a card."""
    names, fixture = [], ""
    for line in listing.splitlines():
        name, _, comment = line.partition("#")
        if not line.startswith(" "):
            fixture = name.strip()
        elif fixture.startswith("CudaCardTest.") or '"card"' in comment:
            names.append(fixture + name.strip())
    return names


def copy_runtime(build: Path, out: Path, tests: bool = True) -> list[dict]:
    """The runtime with what it needs; the tests of its GoogleTests, if they are wanted."""
    for folder in ("bin", "lib", "python"):
        (out / folder).mkdir(parents=True)
    files = {"bin/sparse-run": "bin", "lib/libsparse_runtime.so": "lib"}
    gtest = build / "bin" / "SparseRuntimeTests"
    tests = tests and gtest.exists()
    if tests:
        files |= {"bin/SparseRuntimeTests": "bin", "lib/ToyKernels.so": "lib", "unittests/Runtime/ToyKernels.ptx": "lib"}
    for file, folder in files.items():
        if not (build / file).exists():
            raise RuntimeError(f"{build / file} is missing: build the runtime there (see test/gpu/README.md)")
        shutil.copy(build / file, out / folder)
    for binary in (*(out / "bin").iterdir(), out / "lib" / "libsparse_runtime.so"):
        found = libraries(subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout)
        for name, place in found.items():
            if name.startswith(SYSTEM):
                continue
            if not name.startswith(BROUGHT):
                raise RuntimeError(f"{binary.name} needs {name}: build the runtime with -DSPARSE_RUNTIME_ONEDNN=OFF")
            if not (out / "lib" / name).exists():
                shutil.copy(place, out / "lib" / name)
    shutil.copytree(ROOT / "python" / "sparse_opt", out / "python" / "sparse_opt", ignore=shutil.ignore_patterns("__pycache__"))
    if not tests:
        return []
    listing = subprocess.run([str(gtest), "--gtest_list_tests"], capture_output=True, text=True, check=True).stdout
    return [
        {"name": f"runtime/{name}", "kind": "gtest", "small": not name.endswith(FAIL_ON_PURPOSE), "arguments": {"filter": name}}
        for name in card_tests(listing)
    ]


def make_models(arguments: argparse.Namespace, target: str) -> list[dict]:
    from suite_models import MODELS, Maker, merging_models, pair_models

    tests = []
    with tempfile.TemporaryDirectory() as scratch:
        maker = Maker(arguments.sparse_opt, target, arguments.out, Path(scratch))
        models = (*MODELS, *pair_models(arguments.sparse_opt), *merging_models())
        steps = [(model.name, lambda model=model: maker.make(model)) for model in models]
        road = arguments.corpus / "road" if arguments.corpus else None
        if road and road.is_dir():
            for folder in sorted(road.iterdir()):
                steps.append((folder.name, lambda folder=folder: maker.make_exported(folder)))
        elif road:
            print(f"{road} is not there: no models of exporters", flush=True)
        for name, make in steps:
            begin = time.monotonic()
            tests += make()
            print(f"  {name} ({time.monotonic() - begin:.0f} s)", flush=True)
    return tests


def git_commit() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def share_equal_files(folder: Path, least: int = 1 << 16) -> None:
    """Files of the same bytes become one with several names, which an archive stores once: models share their weights."""
    first: dict[bytes, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size >= least:
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest in first:
                path.unlink()
                path.hardlink_to(first[digest])
            first.setdefault(digest, path)


def size(path: Path) -> int:
    """Bytes of a file, or of all below a folder; of what has several names once."""
    files = {file.stat().st_ino: file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()}
    return sum(files.values())


def pack(out: Path) -> Path:
    """OUT.tar.xz, with one folder in it."""
    archive = out.with_name(out.name + ".tar.xz")
    with tarfile.open(archive, "w:xz") as file:
        file.add(out, out.name, filter=lambda member: None if "__pycache__" in member.name else member)
    return archive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparse-opt", type=Path, required=True, metavar="PATH", help="the compiler")
    parser.add_argument("--runtime", type=Path, required=True, metavar="DIR", help="build folder of a runtime without oneDNN")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the bundle; it is replaced")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="models of exporters, in DIR/road")
    parser.add_argument("--target", default="sm_90a", help="architecture (default: sm_90a)")
    parser.add_argument("--shapes", type=int, default=60, metavar="N", help="random attention cases (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of these cases (default: 1)")
    arguments = parser.parse_args()
    out = arguments.out = arguments.out.resolve()
    if out.exists() and not (out / "suite.json").exists() and any(out.iterdir()):
        parser.error(f"{out} is there and is no bundle")
    shutil.rmtree(out, ignore_errors=True)

    tests = copy_runtime(arguments.runtime, out)
    (out / "suite.json").write_text("{}")  # so that an unfinished bundle may be replaced
    print("attention", flush=True)
    rng = random.Random(arguments.seed)
    cases = with_dense_twins([random_case(rng, index) for index in range(arguments.shapes)])
    compile_cases(arguments.sparse_opt, cases, out / "attention", arguments.target)
    print("models", flush=True)
    tests = make_models(arguments, arguments.target) + tests
    for script in SCRIPTS:
        shutil.copy(HERE / script, out / script)
    suite = {"target": arguments.target, "made_from": git_commit(), "tests": tests}
    (out / "suite.json").write_text(json.dumps(suite, indent=1) + "\n")

    share_equal_files(out / "models")
    archive = pack(out)
    for part in sorted(out.iterdir()):
        print(f"{size(part) / 1e6:8.2f} MB  {part.name}")
    total = archive.stat().st_size
    print(f"{total / 1e6:8.2f} MB  {archive}: {len(tests)} tests and {len(cases)} attention cases")
    if total > LIMIT:
        print(f"that is more than {LIMIT / 1e6:.0f} MB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
