"""The peers' bench: turns are taken in order, and a real peer answers with times of what it was asked."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from common.config import LlamaConfig
from common.form_genai import GenaiForm, write_genai_config
from common.llama_onnx import write_llama
from common.weights import random_weights
from make_tiny_llama import make_tiny_llama

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "cpu_decode"))

from interleave import Case, Process, measure_interleaved, python_peer  # noqa: E402

FAKE = """
import json, sys
print(json.dumps({"version": "fake"}), flush=True)
for count, line in enumerate(sys.stdin):
    request = json.loads(line)
    open(sys.argv[1], "a").write(f"{sys.argv[2]} {request['case']} {request['context']}\\n")
    seconds = [100, 3, 1, 2][count % 4] * request["tokens"]
    print(json.dumps({"seconds": seconds, "tokens": request["tokens"]}), flush=True)
"""


def test_peers_take_turns_and_the_first_round_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    peers = {name: Process([sys.executable, "-c", FAKE, log, name]) for name in ("a", "b", "c")}
    cases = [Case("decode", 4, context=8), Case("prefill", 16)]
    skip = lambda peer, case: peer == "c" and case.case == "prefill"  # noqa: E731
    results = measure_interleaved(peers, cases, rounds=3, skip=skip)
    for peer in peers.values():
        peer.close()
    turns = ["a decode 8", "b decode 8", "c decode 8"] * 4 + ["a prefill 0", "b prefill 0"] * 4
    assert log.read_text().splitlines() == turns
    assert [(r.peer, r.case.case) for r in results] == [(p, "decode") for p in "abc"] + [(p, "prefill") for p in "ab"]
    assert all((r.median, r.min, r.max) == (2, 1, 3) for r in results)
    assert results[0].json()["tokens_per_second"] == 0.5


def test_a_peer_that_ends_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with status 7"):
        Process([sys.executable, "-c", "raise SystemExit(7)"])


@pytest.mark.parametrize("kind", ["onnxruntime", "onnxruntime-of-genai", "genai"])
def test_real_peers_answer(tmp_path: Path, kind: str) -> None:
    if kind == "genai" and importlib.util.find_spec("onnxruntime_genai") is None:
        pytest.skip("onnxruntime-genai is not installed")
    config = LlamaConfig(max_positions=128)
    if kind == "onnxruntime":
        make_tiny_llama(tmp_path, config, forms=("standard",), length=8)
        model = tmp_path / "model.standard.onnx"
    else:
        model = tmp_path / "model.onnx"
        write_llama({model.name: GenaiForm(config)}, random_weights(config, 0), tmp_path, "model.onnx.data")
        write_genai_config(config, tmp_path, model.name, 128, bos=1, eos=2)
    peer = python_peer("genai" if kind == "genai" else "onnxruntime", model, 1)
    assert peer.version.split()[0] == ("onnxruntime-genai" if kind == "genai" else "onnxruntime")
    for case in (Case("decode", 5, context=20), Case("decode", 5, context=20), Case("prefill", 30)):
        assert 0 < peer.measure(case) < 10
    peer.close()


def test_results_are_json(tmp_path: Path) -> None:
    peers = {"a": Process([sys.executable, "-c", FAKE, tmp_path / "log", "a"])}
    (result,) = measure_interleaved(peers, [Case("prefill", 16)], rounds=1)
    peers["a"].close()
    assert json.loads(json.dumps(result.json()))["case"] == {"case": "prefill", "tokens": 16, "context": 0}
