"""What the bench of artifacts counts and compares with."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "cpu_decode"), str(ROOT / "benchmarks" / "quality")]

from how_fast import Row  # noqa: E402
from interleave import Case, Process  # noqa: E402
from weights import bytes_of_a_token  # noqa: E402


def write_header(path: Path, tensors: dict[str, list[int]]) -> None:
    """A safetensors file of f32 without its data."""
    header, offset = {"__metadata__": {}}, 0
    for name, shape in tensors.items():
        size = 4
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def test_a_token_reads_panels_and_vectors_but_no_tables(tmp_path: Path) -> None:
    write_header(tmp_path / "w", {"panels": [3, 8, 64], "norm": [8], "cosines": [100, 4]})
    assert bytes_of_a_token(tmp_path / "w") == 4 * (3 * 8 * 64 + 8)


def test_a_row_says_whether_it_was_reached() -> None:
    assert Row("x", 2.0, 1.0, "peer", 2.0, 1.0).line().endswith("| 2.00 | 2.0 | 1.0 | yes |")
    assert Row("x", 2.1, 1.0, "peer", 2.0, 1.0).line().endswith("| 2.10 | 2.0 | 1.0 | **no** |")
    assert Row("x", -1.0, -2.0, "peer", 2.0, 1.0).line().endswith("| nan | 2.0 | 1.0 | noise |")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_reads_answer_with_their_time(tmp_path: Path) -> None:
    source = ROOT / "benchmarks" / "cpu_decode" / "read_rate.c"
    subprocess.run(["cc", "-O2", "-pthread", source, "-o", tmp_path / "read_rate"], check=True)
    process = Process([tmp_path / "read_rate", 1 << 24, 2])
    assert process.version == "read of 16777216 bytes"
    assert 1e-5 < process.measure(Case("decode", 16, 512)) < 10
    process.close()
