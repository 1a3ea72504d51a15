"""Every phase's IR is a file that reads back and compiles on to the same artifact."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import road
from road import CHUNK, GQA3, PHASES, POLICIES, SPARSE_OPT, run


class Whole(NamedTuple):
    """What one run made of a model, with the IR of every phase."""

    model: Path
    options: list[str]
    artifact: Path
    ir: Path

    def dumped(self, phase: str) -> Path:
        (path,) = self.ir.glob(f"*{phase}.mlir")
        return path


# An op whose location is unknown gets that of its line when it is read: locations are all that may differ.
LOCATION = re.compile(r' loc\((?:[^()"]|"[^"]*"|\((?:[^()"]|"[^"]*")*\))*\)')


def without_locations(path: Path) -> list[str]:
    return [line for line in LOCATION.sub("", path.read_text()).splitlines() if not line.startswith("#loc")]


@pytest.fixture(scope="module")
def whole(tiny: Callable, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The policy has every method and every form of cache."""
    folder = tmp_path_factory.mktemp("phases")
    model = tiny(GQA3, 3).onnx("decomposed")
    options = [f"--prefill-chunk={CHUNK}", "--buckets=1", road.policy_option(folder, POLICIES["mixed"])]
    artifact = road.compile_model(model, folder / "model.spx", *options, f"--dump-phases-to={folder}/ir")
    return Whole(model, options, artifact, folder / "ir")


def digests(artifact: Path) -> dict[str, str]:
    """SHA-256 of each plan, each object of code and the weights, by their paths."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    return {section["path"]: section["sha256"] for section in manifest["sections"]}


def test_every_phase_is_dumped(whole: Whole) -> None:
    assert len(list(whole.ir.iterdir())) == len(PHASES)


@pytest.mark.parametrize("phase", PHASES)
def test_phase_parses_back(phase: str, whole: Whole, tmp_path: Path) -> None:
    """Printed, parsed and verified, and printed again: the text is the same."""
    first, second = tmp_path / "first.mlir", tmp_path / "second.mlir"
    for source, target in ((whole.dumped(phase), first), (first, second)):
        result = run(SPARSE_OPT, source, "-o", target)
        assert result.returncode == 0, result.stderr
    assert first.read_text() == second.read_text()


@pytest.mark.parametrize(("phase", "following"), list(itertools.pairwise(PHASES)))
def test_compile_from_one_phase_to_the_next(phase: str, following: str, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "out.mlir"
    phases = (f"--compile-from={phase}", f"--compile-to={following}")
    result = run(SPARSE_OPT, "compile", whole.dumped(phase), "-o", out, *whole.options, *phases)
    assert result.returncode == 0, result.stderr
    assert without_locations(out) == without_locations(whole.dumped(following))


@pytest.mark.parametrize("phase", [PHASES[0], PHASES[-1]])
def test_compile_from_a_phase_to_the_end(phase: str, whole: Whole, tmp_path: Path) -> None:
    options = [*whole.options, f"--compile-from={phase}"]
    again = road.compile_model(whole.dumped(phase), tmp_path / "model.spx", *options)
    assert digests(again) == digests(whole.artifact)


@pytest.mark.parametrize("phase", PHASES)
def test_compile_to_writes_what_is_dumped(phase: str, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "out.mlir"
    result = run(SPARSE_OPT, "compile", whole.model, "-o", out, f"--compile-to={phase}", *whole.options)
    assert result.returncode == 0, result.stderr
    assert out.read_text() == whole.dumped(phase).read_text()


def test_compiling_twice_gives_the_same_artifact(whole: Whole, tmp_path: Path) -> None:
    again = road.compile_model(whole.model, tmp_path / "model.spx", *whole.options)
    assert (again / "manifest.json").read_bytes() == (whole.artifact / "manifest.json").read_bytes()


def test_a_phase_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    result = run(SPARSE_OPT, "compile", "model.onnx", "-o", tmp_path / "model.spx", "--compile-from=fusion")
    assert result.returncode == 2
    assert "fusion" in result.stderr
