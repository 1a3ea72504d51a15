"""The logic of the benches on a GPU, with programs that only pretend: no card is needed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / part)
    for part in ("benchmarks/gpu_common", "benchmarks/gpu_decode_step", "benchmarks/gpu_prefill", "test/gpu")
]

import gpu_decode_step  # noqa: E402
import gpu_prefill  # noqa: E402
import shape_bench  # noqa: E402
from attention_case import Case, module_text  # noqa: E402
from gpu_cases import FULL, LINEARS, PREFILL, causal_operations, prefill_case, with_full_steps  # noqa: E402
from gpu_parts import Spread, Table, markdown, repeats, rotation  # noqa: E402
from make_bundle import llama_cases  # noqa: E402
from plan_runner import Plan  # noqa: E402

# Its parts are named after what they do.
BENCH = """
import os, sys, time
sys.path.insert(0, {common!r})
from pathlib import Path
import gpu_parts

def good(bundle):
    table = gpu_parts.Table("Good", ("what", "us"), rows=[("row", "1.0")])
    table.attempt("bad row", lambda: 1 / 0)
    table.attempt("good row", lambda: table.rows.append(("other", "2.0")))
    return table

PARTS = {{
    "crash": lambda bundle: os.abort(),
    "raise": lambda bundle: {{}}["key"],
    "hang": lambda bundle: time.sleep(60),
    "good": good,
}}
sys.exit(gpu_parts.main(Path(__file__).resolve(), "", PARTS))
"""
SPARSE_RUN = """#!{python}
import json, sys
if "-d" not in sys.argv:
    sys.exit("error: out of memory")
depths = sys.argv[sys.argv.index("-d") + 1].split(",")
n_prompt, n_gen = (int(sys.argv[sys.argv.index(flag) + 1]) for flag in ("-p", "-n"))
speed = 50 if "quest" in sys.argv[2] else 10
print(json.dumps([{{"n_depth": int(d), "n_prompt": n_prompt, "n_gen": n_gen, "median_ts": speed / (1 + int(d) / 32768),
                   "min_ts": speed / 4, "max_ts": speed * 2}} for d in depths]))
"""


def test_a_part_that_fails_fails_alone(tmp_path: Path) -> None:
    script = tmp_path / "bench.py"
    script.write_text(BENCH.format(common=str(ROOT / "benchmarks" / "gpu_common")))
    (tmp_path / "bundle.json").write_text('{"target": "sm_90a"}')
    outputs = ["--json", str(tmp_path / "out.json"), "--markdown", str(tmp_path / "out.md")]
    command = [sys.executable, str(script), "--timeout", "10", *outputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    facts = json.loads((tmp_path / "out.json").read_text())
    failures = {name: part["failures"] for name, part in facts["parts"].items()}
    assert "KeyError" in failures["raise"][0]
    assert "exit code -6" in failures["crash"][0]
    assert failures["hang"] == ["stopped after 10 s"]
    assert failures["good"] == ["bad row: ZeroDivisionError: division by zero"]
    assert facts["parts"]["good"]["rows"] == [["row", "1.0"], ["other", "2.0"]]
    assert facts["bundle"] == {"target": "sm_90a"}
    assert "| other | 2.0 |" in (tmp_path / "out.md").read_text()
    assert (tmp_path / "out.md").read_text() == done.stdout.removesuffix("\n")
    assert "Compiled for sm_90a" in done.stdout


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    for script in (gpu_decode_step.__file__, gpu_prefill.__file__):
        done = subprocess.run([sys.executable, script, "--bundle", str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "is no bundle" in done.stderr


def test_what_is_touched_exceeds_four_times_the_cache() -> None:
    assert rotation(1e9, 50e6) == 2
    assert rotation(100e6, 50e6) == 3  # exactly four times is not more
    for touched in (16.8e6, 33.6e6, 67e6):
        count = rotation(touched, 52.4e6)
        assert touched * count > 4 * 52.4e6 >= touched * (count - 1)
        assert repeats(count, 48) * count >= 48


def test_tables() -> None:
    table = Table("T", ("what", "us"), rows=[("a", Spread.of([3.0, 1.0, 1234.5]).text(1))], notes=["n"], failures=["b: E"])
    assert markdown(vars(table)) == "## T\n\n| what | us |\n|---|--:|\n| a | 3.0 (1.0–1,234.5) |\n\n- n\n- **failed**: b: E\n"


def test_operations_are_those_of_visible_pairs() -> None:
    pairs = sum(position + 1 for position in range(5, 5 + 7))
    assert causal_operations(3, 4, 6, 5, 7) == 2 * 3 * (4 + 6) * pairs
    parts = [causal_operations(32, 128, 128, start, 2048) for start in range(0, 32768, 2048)]
    assert sum(parts) == causal_operations(32, 128, 128, 0, 32768)


def test_entries_of_the_bundle() -> None:
    steps = with_full_steps(llama_cases())
    names = [case.name for case in steps]
    assert [FULL + name for name in names[:4]] == names[4:]
    text = module_text([*steps, prefill_case(steps[1])], more="".join(linear.entry() for linear in LINEARS))
    entries = dict(re.findall(r"func\.func @(\w+)\(.*?\n(.*?)\n  }", text, re.S))
    assert set(entries) == {*names, PREFILL, *(linear.name for linear in LINEARS)}
    assert [name for name in entries if "kvcache.append" in entries[name]] == names[4:]
    assert "prefill, scale" in entries[PREFILL]
    assert Case.from_json(json.loads(json.dumps(steps[-1].to_json()))) == steps[-1]


def plan(buffers: list[dict], steps: list[dict]) -> dict:
    return {"arena_bytes": 64, "buffers": buffers, "steps": steps}


def launch(kernel: str, *args: int) -> dict:
    return {"op": "launch", "kernel": kernel, "args": args, "grid": [1, 1, 1], "block": [1, 1, 1]} | {
        "cluster": 1,
        "shared": 0,
        "dependent": False,
    }


WEIGHTS = [
    {"kind": "weight", "name": name, "bytes": size, "dtype": "bf16"} for name, size in (("table", 1000), ("w", 10), ("v", 7))
]


def test_weights_that_a_token_reads() -> None:
    gemm = {"op": "gemm", "m": 4, "n": 2, "k": 3, "a": 3, "b": 2, "c": 3}
    steps = [launch("embed_0", 0, 3), launch("linear_0", 3, 1), launch("linear_0", 3, 1)]
    buffers = [*WEIGHTS, {"kind": "arena", "offset": 0, "bytes": 64}]
    assert shape_bench.weight_bytes(plan(buffers, steps)) == 10
    assert shape_bench.weight_bytes(plan(buffers, [*steps, gemm])) == 17
    assert shape_bench.weight_bytes(plan(buffers, [*steps, launch("linear_1", 3, 0)])) == 1010  # a tied head
    assert shape_bench.product_operations(plan(buffers, [*steps, gemm])) == 48


class Device:
    def allocate(self, size: int) -> int:
        return 1 << 20


class Module:
    def function(self, name: str) -> str:
        return name


def test_plans_bind_weights(tmp_path: Path) -> None:
    path = tmp_path / "linear.json"
    buffers = [{"kind": "input", "name": "x", "bytes": 4}, {"kind": "output", "name": "y", "bytes": 4}, WEIGHTS[1]]
    path.write_text(json.dumps(plan([*buffers, {"kind": "arena", "offset": 64, "bytes": 0}], [launch("linear_0", 0, 2, 1, 3)])))
    bound = Plan(Device(), Module(), path)
    assert bound.weights() == {"w": "bf16"}
    (step,) = bound.bind({"x": 1}, {"y": 2}, {}, {"w": 3})
    assert [value.value for value in step.values] == [1, 3, 2, (1 << 20) + 64]
    with pytest.raises(KeyError):
        bound.bind({"x": 1}, {"y": 2}, {}, {})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A shape of two layers, the second of which selects, with a sparse-run that only answers."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sparse-run"
    program.write_text(SPARSE_RUN.format(python=sys.executable))
    program.chmod(0o755)
    for name in shape_bench.POLICY:
        artifact = tmp_path / f"{name}.spx"
        (artifact / "plans" / "cuda").mkdir(parents=True)
        kinds = [["table", "count"], ["table", "count", "page_max", "page_min"]]
        layers = [{"page": 16, "components": [{"name": one} for one in names]} for names in kinds]
        model = {"kv_heads": 2, "heads": 4, "head_dim": 8, "kv_dtype": "bf16"}
        manifest = {"model": model, "devices": {"cuda": {"cache": {"layers": layers}}}}
        (artifact / "manifest.json").write_text(json.dumps(manifest))
        steps = [launch("linear_0", 1), {"op": "gemm", "m": 1, "n": 1, "k": 1, "a": 1, "b": 2, "c": 1}]
        for entry in ("decode_b1", "prefill"):
            (artifact / "plans" / "cuda" / f"{entry}.json").write_text(json.dumps(plan(WEIGHTS, steps)))
    return tmp_path


def test_bytes_of_the_cache(bundle: Path) -> None:
    shape = shape_bench.Shape.of(bundle / f"{shape_bench.QUEST}.spx")
    assert (shape.weights, shape.selecting) == (17, (False, True))
    row = 2 * 2 * 8 * 2
    assert shape.cache_bytes(32768, 4096) == row * 32768 + row * (4096 + 2048)
    assert shape.cache_bytes(64, 4096) == row * 64 + row * (64 + 4)


def test_rows_of_tokens(bundle: Path) -> None:
    table = Table("tokens", ())
    for name in (shape_bench.DENSE, shape_bench.QUEST):
        gpu_decode_step.measure_tokens(table, bundle, name, 1e9)
    assert [row[0] for row in table.rows] == ["dense, 32K", "dense, 128K", "Quest 4,096, 32K", "Quest 4,096, 128K"]
    assert [row[-1] for row in table.rows] == ["", "", "5.00", "5.00"]
    read = 17 + 64 * (32768 + 8.5) + 64 * (4096 + (32768 + 8.5) / 16)
    assert table.data[2]["bytes"] == read
    assert table.rows[2][1:3] == ("25.0 (12.5–100.0)", "40.00")
    assert table.rows[2][5] == f"{read * 25 / 1e9:.0%}"


def test_rows_of_prompts(bundle: Path) -> None:
    table = Table("prompts", ())
    gpu_prefill.measure_prompts(table, bundle, 1e12)
    assert [row[0] for row in table.rows] == ["2,048 after 0", "2,048 after 30,720"]
    difference = 2048 / 10 * 1000 * (30720 / 32768)
    more = causal_operations(4, 8, 8, 30720, 2048) - causal_operations(4, 8, 8, 0, 2048)
    assert table.data[-1]["more_operations"] == 2 * more
    assert table.data[-1]["more_ms"] == pytest.approx(difference)


def test_what_sparse_run_says_is_the_message(bundle: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 1: error: out of memory"):
        shape_bench.bench(bundle, shape_bench.DENSE)
