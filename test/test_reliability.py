"""The table of reliability tests says what there is."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("SPARSE_BUILD", ROOT / "build" / "default"))
loader = importlib.machinery.SourceFileLoader("reliability", str(ROOT / "scripts" / "reliability"))
reliability = importlib.util.module_from_spec(importlib.util.spec_from_loader("reliability", loader))
loader.exec_module(reliability)
ROWS = reliability.read_rows()


def test_all_rows_are_there() -> None:
    assert list(ROWS) == [f"R{number}" for number in range(1, 28)]
    for row in ROWS.values():
        assert row["state"] == ("open" if "open" in row else "done"), row["id"]


def test_the_document_has_the_table() -> None:
    assert reliability.markdown(ROWS) in (ROOT / "docs" / "reliability.md").read_text()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "gtest" in row])
def test_every_part_of_a_filter_finds_tests(name: str) -> None:
    binary = BUILD / "bin" / "SparseRuntimeTests"
    if not binary.exists():
        pytest.skip(f"not built: {binary}")
    for part in ROWS[name]["gtest"].split(":"):
        command = [binary, "--gtest_list_tests", f"--gtest_filter={part}"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert re.search(r"^  \S", listed, re.MULTILINE), part


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if {"gtest", "pytest", "lit"} & row.keys()])
def test_what_runs_a_row_names_it(name: str) -> None:
    """So that a reader of the test finds the row, and the other way round."""
    row = ROWS[name]
    files = [ROOT / node.split("::")[0] for node in row.get("pytest", []) + row.get("lit", [])]
    assert [str(file) for file in files if not file.is_file()] == []
    if "gtest" in row:
        files += (ROOT / "unittests").rglob("*.cpp")
    assert any(re.search(rf"\b{name}\b", file.read_text()) for file in files)
