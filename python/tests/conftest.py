"""The tests run on a toy model that a helper of the C++ tests writes.

SPARSE_TOY_MODEL_WRITER is its path, SPARSE_RUNTIME_LIBRARY the library's.
"""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def writer():
    path = os.environ.get("SPARSE_TOY_MODEL_WRITER")
    if not path:
        root = pathlib.Path(__file__).resolve().parents[2]
        found = sorted(root.glob("build*/**/write-toy-model"))
        if not found:
            pytest.skip("write-toy-model is not built")
        path = str(found[0])
    return path


@pytest.fixture()
def toy(writer, tmp_path):
    def make(kind="dense"):
        path = tmp_path / f"{kind}.spx"
        subprocess.run([writer, str(path), kind], check=True)
        return path

    return make
