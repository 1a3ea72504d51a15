"""The same input gives the same artifact, byte for byte, wherever and however it is compiled (R27)."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import road
from road import GQA2, SPARSE_OPT

POLICY = road.rules(
    "layers: all, attention: {page_topk: {page: 4, budget: 16}}",
    "layers: 1, kv: {h2o: {heavy: 9, recent: 9}}",
)
OPTIONS = (f"--prefill-chunk={road.CHUNK}", "--buckets=1")
LONG = bool(os.environ.get("SPARSE_TEST_LONG"))
# What a run may differ in: language, time zone, hash seeds, where temporary files go.
WORLDS = (
    {},
    {"LC_ALL": "C", "TZ": "UTC"},
    {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"},
    {"LC_ALL": "de_DE.UTF-8", "TZ": "America/St_Johns", "HOME": "/nonexistent"},
    {"LC_ALL": "C.UTF-8", "MALLOC_PERTURB_": "165", "SOURCE_DATE_EPOCH": "1"},
)


def content(artifact: Path) -> dict[str, bytes]:
    files = (path for path in sorted(artifact.rglob("*")) if path.is_file())
    return {str(path.relative_to(artifact)): path.read_bytes() for path in files}


@pytest.mark.parametrize(("device", "runs"), [("cpu", 50 if LONG else 5), ("cuda:sm_90a", 10 if LONG else 2)])
def test_compiled_again_elsewhere(device: str, runs: int, tiny: Callable, tmp_path: Path) -> None:
    model = tiny(GQA2, 3).onnx()
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    processors = sorted(os.sched_getaffinity(0))
    options = (f"--target={device}", *OPTIONS)
    expected: dict[str, bytes] = {}
    for run in range(runs):
        folder = tmp_path / f"run-{run}" / ("deeper/" * (run % 3))
        folder.mkdir(parents=True)
        # By relative names or by absolute ones; on one processor or on all; in the order of the list or not.
        names = [str(model), str(policy)] if run % 2 else [os.path.relpath(p, folder) for p in (model, policy)]
        allowed = processors[: 1 + run % len(processors)]
        temporary = folder / "temporary"
        temporary.mkdir()
        result = subprocess.run(
            [SPARSE_OPT, "compile", names[0], "-o", "model.spx", f"--policy={names[1]}", *options],
            cwd=folder,
            env=os.environ | {"TMPDIR": str(temporary)} | WORLDS[run % len(WORLDS)],
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        files = content(folder / "model.spx")
        assert not list(temporary.iterdir())
        if run == 0:
            expected = files
            assert len(files) > 5
            continue
        assert files.keys() == expected.keys()
        assert [name for name in files if files[name] != expected[name]] == []
