"""The scripts that write references, run as a user runs them, on the tiny Llama."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from common.config import LlamaConfig
from make_tiny_llama import make_tiny_llama
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
LENGTH, PREFILL = 60, 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    make_tiny_llama(path, LlamaConfig(max_positions=128), seed=2, length=LENGTH)
    (path / "ids.txt").write_text(" ".join(str(i) for i in load_file(path / "ref.safetensors")["ids"][0]))
    return path


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def reference(script: str, folder: Path, *arguments: object) -> dict[str, np.ndarray]:
    out = folder / "out.safetensors"
    result = run(script, *arguments, "--out", out)
    assert result.returncode == 0, result.stderr
    return load_file(out)


def test_chunked_logits(folder: Path) -> None:
    model = folder / "model.standard.onnx"
    answer = reference("make_reference.py", folder, model, "--ids", folder / "ids.txt", "--chunk", 16)
    expected = load_file(folder / "ref.safetensors")
    np.testing.assert_array_equal(answer["ids"], expected["ids"])
    np.testing.assert_allclose(answer["logits"], expected["logits"], atol=2e-5, rtol=1e-4)


def test_greedy_tokens_are_the_likeliest_of_their_own_row(folder: Path) -> None:
    model = folder / "model.decomposed.onnx"
    rows = ("--ids", folder / "ids.txt", "--length", 12, "--batch", 3, "--skip", 7)
    answer = reference("make_reference.py", folder, model, *rows, "--generate", 9, "--chunk", 5)
    assert answer["ids"].shape == (3, 12)
    assert answer["generated"].shape == (3, 9)
    assert (answer["margin"] >= 0).all()
    whole = np.concatenate([answer["ids"], answer["generated"]], axis=1)
    (folder / "whole.txt").write_text(" ".join(map(str, whole.ravel())))
    row = ("--ids", folder / "whole.txt", "--batch", 3)
    logits = reference("make_reference.py", folder, model, *row)["logits"]
    np.testing.assert_array_equal(logits[:, 11:-1].argmax(axis=-1), answer["generated"])


def test_dense_oracle_equals_onnx_runtime(folder: Path) -> None:
    arguments = (folder, "--ids", folder / "ids.txt", "--prefill", PREFILL)
    answer = reference("make_policy_reference.py", folder, *arguments)
    expected = load_file(folder / "ref.safetensors")
    np.testing.assert_allclose(answer["logits"], expected["logits"], atol=2e-5, rtol=1e-4)
    np.testing.assert_array_equal(answer["kept.0"][0, -1, 0], np.arange(LENGTH))
    assert answer["pages.1"].shape == (1, LENGTH - PREFILL, 4, 0)


def test_policy_oracle_tells_what_it_kept(folder: Path) -> None:
    policy = folder / "policy.yaml"
    policy.write_text(
        "version: 1\n"
        "rules:\n"
        "  - {layers: 1-, attention: {page_topk: {page: 4, budget: 12}}}\n"
        "  - {layers: all, kv: {h2o: {heavy: 10, recent: 6, heads: [1]}}}\n"
    )
    arguments = (folder, "--ids", folder / "ids.txt", "--prefill", PREFILL, "--policy", policy)
    answer = reference("make_policy_reference.py", folder, *arguments)
    expected = load_file(folder / "ref.safetensors")
    np.testing.assert_allclose(answer["logits"][:, :PREFILL], expected["logits"][:, :PREFILL], atol=2e-5, rtol=1e-4)
    assert np.abs(answer["logits"] - expected["logits"]).max() > 1e-2
    for step in range(LENGTH - PREFILL):
        kept = answer["kept.1"][0, step]
        assert list((kept >= 0).sum(axis=-1)) == [PREFILL + step + 1, 16]
        assert kept[1].max() == PREFILL + step
        assert ((answer["pages.1"][0, step] >= 0).sum(axis=-1) == 3).all()
    assert answer["pages.0"].size == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ids", "ids.txt", "--length", "600"), "1 x 600 ids wanted"),
        (("--text", "ids.txt"), "--text needs --tokenizer"),
        (("--random", "1"), "--random needs --length"),
    ],
)
def test_a_source_that_does_not_do_is_a_usage_error(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    arguments = tuple(str(folder / a) if a == "ids.txt" else a for a in arguments)
    result = run("make_reference.py", folder / "model.standard.onnx", *arguments, "--out", folder / "no.safetensors")
    assert result.returncode == 2
    assert message in result.stderr
    assert not (folder / "no.safetensors").exists()
