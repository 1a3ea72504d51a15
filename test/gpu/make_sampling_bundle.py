"""Compiles the sampling entry in several shapes into a bundle: the kernel, plans and the scripts that run them, for a
machine that has neither the compiler nor this tree."""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

from sampling_case import module_text

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("cuda_driver.py", "plan_runner.py", "run_sampling.py", "sampling_case.py", "../oracles/sampling.py")
TARGET = '#sparsity.target<arch = "sm_90a", multiprocessors = 132, shared_memory = 232448, clusters = true>'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparse-opt", required=True, help="the compiler")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the bundle; it is replaced")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, artifact = pathlib.Path(folder, "cases.mlir"), pathlib.Path(folder, "cases.spx")
        source.write_text(module_text(TARGET))
        command = [args.sparse_opt, "compile", str(source), "--compile-from", "stateful", "-o", str(artifact)]
        subprocess.run(command, check=True)
        target = json.loads((artifact / "manifest.json").read_text())["devices"]["cuda"]["targets"][0]
        shutil.rmtree(args.out, ignore_errors=True)
        args.out.mkdir(parents=True)
        shutil.copy(artifact / target.get("code", target["ptx"]), args.out / "kernels.cubin")
        shutil.copytree(artifact / "plans" / "cuda", args.out / "plans")
        for script in SCRIPTS:
            shutil.copy(HERE / script, args.out)


if __name__ == "__main__":
    main()
