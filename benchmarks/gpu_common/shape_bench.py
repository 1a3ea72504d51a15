"""`sparse-run bench` of a shape without weights, and the bytes that a token of it reads. Needs nothing but Python."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from run_suite import library_folders

DENSE, QUEST, BUDGET = "llama-3.1-8b-dense", "llama-3.1-8b-quest-4096", 4096
POLICY = {DENSE: [], QUEST: [f"--attention=2-:page_topk:budget={BUDGET}"]}
ELEMENT = {"f32": 4, "bf16": 2, "f16": 2}
BY_ROW = ("embed", "append")  # kernels that read one row of a table


@dataclasses.dataclass(frozen=True)
class Shape:
    """What of an artifact decides how many bytes a token reads."""

    weights: int
    kv_heads: int
    head_dim: int
    element: int
    page: int
    selecting: tuple[bool, ...]  # of each layer
    heads: int

    @staticmethod
    def of(artifact: Path) -> "Shape":
        manifest = json.loads((artifact / "manifest.json").read_text())
        plan = json.loads((artifact / "plans" / "cuda" / "decode_b1.json").read_text())
        layers, model = manifest["devices"]["cuda"]["cache"]["layers"], manifest["model"]
        fields = [{component["name"] for component in layer["components"]} for layer in layers]
        return Shape(
            weight_bytes(plan),
            model["kv_heads"],
            model["head_dim"],
            ELEMENT[model["kv_dtype"]],
            layers[0]["page"],
            tuple("page_max" in names for names in fields),
            model["heads"],
        )

    def cache_bytes(self, context: float, budget: int) -> float:
        """Keys and values that a token reads of a context, and the bounds of all its pages where a layer selects."""
        row = 2 * self.kv_heads * self.head_dim * self.element  # a key and a value, or a page's two bounds
        dense = row * context
        chosen = row * (min(budget, context) + context / self.page)
        return sum(chosen if selecting else dense for selecting in self.selecting)


def weight_bytes(plan: dict) -> int:
    """Bytes of the weights that a plan reads whole: not of tables of which it reads a row."""
    read = set()
    for step in plan["steps"]:
        if not step.get("kernel", "").startswith(BY_ROW):
            read |= set(step["args"] if "args" in step else (step["a"], step["b"]))
    buffers = plan["buffers"]
    return sum(buffers[index]["bytes"] for index in read if buffers[index]["kind"] == "weight")


def product_operations(plan: dict) -> int:
    """Operations of the products of matrices of a plan."""
    return sum(2 * step["m"] * step["n"] * step["k"] for step in plan["steps"] if step["op"] == "gemm")


def bench(bundle: Path, artifact: str, *options: str, timeout: float = 400) -> list[dict]:
    """The rows of `sparse-run bench` with random weights and a made-up cache."""
    command = [str(bundle / "bin" / "sparse-run"), "bench", str(bundle / f"{artifact}.spx"), "--device", "cuda"]
    command += ["--weights", "random:1", "--fill", "--json", *options]
    paths = [*library_folders(), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(filter(None, paths))}
    print("  " + " ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"sparse-run bench, exit code {done.returncode}: {lines[-1] if lines else ''}")
    return json.loads(done.stdout)
