"""The artifacts of SmolLM2 that acceptance tests and benchmarks run, compiled on demand and kept.

    smollm2_artifacts.py DIR --sparse-opt PATH --artifacts DIR [--names NAME...]

DIR is a folder of examples/smollm2/make_smollm2.py. An artifact older than the compiler is compiled again.
"""

import argparse
import subprocess
from pathlib import Path

DECOMPOSED, STANDARD = "model.decomposed.onnx", "model.standard.onnx"
BF16 = ["--weights-dtype=bf16", "--kv-dtype=bf16"]
LONG = ["--max-context=32768"]  # beyond what the model was trained for: speed only

# Room for every length that the tests try, so that nothing is left out.
WHOLE = 4096

POLICIES = {
    "mixed.yaml": """version: 1
rules:
  - {layers: 2-, attention: {page_topk: {page: 16, budget: 64}}}
  - {layers: all, kv: {h2o: {heavy: 64, recent: 64}}}
""",
    "h2o-2048-int8.yaml": """version: 1
rules:
  - {layers: all, kv: {h2o: {heavy: 1024, recent: 1024}, quantize: {format: int8}}}
""",
}

# name: model and options. The default batch sizes only where a test needs them: they take time to compile.
ARTIFACTS: dict[str, tuple[str, list[str]]] = {
    "dense": (DECOMPOSED, []),
    "dense-standard": (STANDARD, ["--buckets=1"]),
    "dense-bf16": (DECOMPOSED, ["--buckets=1", *BF16]),
    "dense-page32": (DECOMPOSED, ["--buckets=1", "--page=32"]),
    **{
        f"whole-{method}-page{page}": (DECOMPOSED, ["--buckets=1", f"--page={page}", *options])
        for page in (16, 32)
        for method, options in {
            "page_topk": [f"--attention=page_topk:page={page},budget={WHOLE}"],
            "h2o": [f"--kv=h2o:heavy={WHOLE // 2},recent={WHOLE // 2}"],
            "streaming": [f"--kv=streaming:sinks=4,window={WHOLE - 4}"],
        }.items()
    },
    "mixed": (DECOMPOSED, ["--buckets=1,8", "--policy=mixed.yaml"]),
    "h2o-2048": (DECOMPOSED, ["--buckets=1", "--kv=h2o:heavy=1024,recent=1024"]),
    "h2o-2048-int8": (DECOMPOSED, ["--buckets=1", *BF16, "--policy=h2o-2048-int8.yaml"]),
    "quest-1024": (DECOMPOSED, ["--buckets=1", "--attention=2-:page_topk:page=16,budget=1024"]),
    "quest-sinks-1024": (DECOMPOSED, ["--buckets=1", "--attention=2-:page_topk:page=16,budget=1024,sinks=4"]),
    "h2o-1024": (DECOMPOSED, ["--buckets=1", "--kv=h2o:heavy=512,recent=512"]),
    "streaming-1024": (DECOMPOSED, ["--buckets=1", "--kv=streaming:sinks=4,window=1020"]),
    "long-dense-bf16": (DECOMPOSED, ["--buckets=1", *BF16, *LONG]),
    "long-h2o-bf16": (DECOMPOSED, ["--buckets=1", *BF16, *LONG, "--kv=h2o:heavy=1024,recent=1024"]),
    "long-quest-bf16": (DECOMPOSED, ["--buckets=1", *BF16, *LONG, "--attention=2-:page_topk:page=16,budget=1024"]),
}


class Artifacts:
    """Compiles what is asked for."""

    def __init__(self, models: Path, compiler: Path, folder: Path) -> None:
        self._models, self._compiler, self._folder = models, compiler, folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in POLICIES.items():
            (folder / name).write_text(text)

    def command(self, name: str) -> list[str]:
        """What compiles it, run in the folder of the artifacts."""
        model, options = ARTIFACTS[name]
        tokenizer = self._models / "tokenizer.json"
        return [
            *(str(self._compiler.resolve()), "compile", str((self._models / model).resolve())),
            *(f"--tokenizer={tokenizer.resolve()}", *options, "-o", f"{name}.spx"),
        ]

    def get(self, name: str) -> Path:
        path = self._folder / f"{name}.spx"
        manifest = path / "manifest.json"
        if not manifest.exists() or manifest.stat().st_mtime < self._compiler.stat().st_mtime:
            done = subprocess.run(self.command(name), cwd=self._folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name}: sparse-opt compile ended with {done.returncode}: {done.stderr.strip()}")
        return path


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of make_smollm2.py")
    parser.add_argument("--sparse-opt", type=Path, required=True, metavar="PATH", help="the compiler")
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="where artifacts are kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--names", nargs="*", metavar="NAME", help="(default: all)")
    arguments = parser.parse_args()
    artifacts = Artifacts(arguments.directory, arguments.sparse_opt, arguments.artifacts)
    for name in arguments.names or ARTIFACTS:
        print(artifacts.get(name), flush=True)


if __name__ == "__main__":
    main()
