"""Dense artifacts of tiny Llamas answer what ONNX Runtime answers for the models they were compiled from."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import road
import sparse_opt
from common.config import LlamaConfig
from common.ort import OrtDecoder, greedy
from safetensors.numpy import load_file

DECODE = 64
# One short of a chunk, a whole one, one more, several and a rest.
PREFILLS = (1, road.CHUNK - 1, road.CHUNK, road.CHUNK + 1, 45)

SHAPES = {
    "gqa2": road.GQA2,
    "mha": LlamaConfig(max_positions=256, heads=3, kv_heads=3, hidden=48, ffn=80, vocab=300),
    "gqa3": road.GQA3,
    "gqa4": LlamaConfig(max_positions=256, heads=4, kv_heads=1, head_dim=64, hidden=96, ffn=96, vocab=299),
    "gqa8": LlamaConfig(max_positions=256, heads=8, kv_heads=1, hidden=100, ffn=33, vocab=263, layers=3),
    "wide": LlamaConfig(max_positions=256, heads=8, kv_heads=4, head_dim=64, hidden=320, ffn=200, layers=1),
    "tied": LlamaConfig(max_positions=256, tied=True, rope_theta=1e5, norm_epsilon=1e-6),
}


# Both forms become the same canonical ops (test_raise.py), so shapes take turns.
CASES = [(shape, "decomposed" if index % 2 else "standard") for index, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("shape", "form"), [*CASES, ("gqa2", "decomposed")])
def test_logits_and_greedy_tokens(shape: str, form: str, tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES[shape], 3)
    artifact = compiled(model, form=form, buckets=road.EVERY_BUCKET if shape == "gqa3" else "1,2")
    decoder = OrtDecoder(model.onnx(form), 1)
    for prefill in PREFILLS:
        ids = model.ids(prefill, 2 if prefill == road.CHUNK else 1, prefill + DECODE)
        report = road.verify(artifact, ids, decoder.run(ids), prefill)
        assert report["decode"] == DECODE

    prompt = model.ids(99, 21).tolist()
    tokens = list(sparse_opt.load(artifact).generate(prompt, max_new_tokens=DECODE))
    assert tokens == greedy(decoder, prompt, DECODE)


@pytest.mark.parametrize("pieces", [[1, 1, 1], [5, 1, 17, 22], [6, 6, 3], [30]], ids=str)
def test_a_prompt_in_several_calls(pieces: list[int], tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa3"], 3)
    context = sparse_opt.load(compiled(model, buckets=road.EVERY_BUCKET)).context(check_counts=True)
    ids = model.ids(sum(pieces), sum(pieces) + 10)
    with context.sequence() as sequence:
        logits = road.feed(sequence, ids, pieces)
        assert len(sequence) == len(ids)
    np.testing.assert_allclose(logits, OrtDecoder(model.onnx(), 1).run(ids[None])[0], atol=1e-4, rtol=1e-4)


def test_prompt_returns_the_logits_of_its_last_token(tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa3"], 3)
    context = sparse_opt.load(compiled(model, buckets=road.EVERY_BUCKET)).context()
    ids = model.ids(4, 19)
    with context.sequence() as one, context.sequence() as other:
        np.testing.assert_array_equal(one.prefill(ids), road.feed(other, ids, [19])[-1])


@pytest.mark.parametrize("chunk", [1, 8, 33])
def test_chunk_lengths(chunk: int, tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa2"], 3)
    artifact = compiled(model, chunk=chunk)
    ids = model.ids(chunk, 1, 60)
    road.verify(artifact, ids, OrtDecoder(model.onnx(), 1).run(ids), 50)


@pytest.mark.parametrize("page", [4, 8, 32])
def test_page_lengths(page: int, tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa4"], 3)
    artifact = compiled(model, f"--page={page}")
    ids = model.ids(page, 1, 110)
    road.verify(artifact, ids, OrtDecoder(model.onnx(), 1).run(ids), 45)


def test_reference_lowering(tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa2"], 3)
    artifact = compiled(model, "--reference")
    ids = model.ids(1, 1, 80)
    road.verify(artifact, ids, OrtDecoder(model.onnx(), 1).run(ids), 21)


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v4"])
def test_every_target(target: str, tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa3"], 3)
    try:
        context = sparse_opt.load(compiled(model, buckets=road.EVERY_BUCKET), target=target).context()
    except sparse_opt.Incompatible as error:
        pytest.skip(str(error))
    ids = model.ids(8, 70)
    with context.sequence() as sequence:
        logits = road.feed(sequence, ids, [30])
    np.testing.assert_allclose(logits, OrtDecoder(model.onnx(), 1).run(ids[None])[0], atol=1e-4, rtol=1e-4)


def test_bf16_weights_and_cache_are_close(tiny: Callable, compiled: Callable) -> None:
    """Random weights leave close calls, so logits are compared, not tokens: near, but not equal."""
    model = tiny(SHAPES["gqa2"], 3)
    artifact = compiled(model, "--weights-dtype=bf16", "--kv-dtype=bf16")
    ids = model.ids(2, 1, 90)
    expected = OrtDecoder(model.onnx(), 1).run(ids)
    report = road.verify(artifact, ids, expected, 30, tolerance=0.05 * float(expected.std()))
    assert report["max_abs"] > 1e-4


def test_context_length_is_kept(tiny: Callable, compiled: Callable) -> None:
    model = tiny(SHAPES["gqa2"], 3)
    loaded = sparse_opt.load(compiled(model, "--max-context=40"))
    assert loaded.max_context == 40
    with loaded.context().sequence() as sequence:
        sequence.prefill(model.ids(1, 39))
        sequence.decode(1)
        with pytest.raises(sparse_opt.OutOfRange):
            sequence.decode(1)
        assert len(sequence) == 40


CORPUS = os.environ.get("SPARSE_CORPUS")


@pytest.mark.parametrize("name", sorted(p.name for p in Path(CORPUS, "road").iterdir()) if CORPUS else ["road"])
def test_exported_models(name: str, tmp_path: Path) -> None:
    if not CORPUS:
        pytest.skip("SPARSE_CORPUS does not name the folder of exported models")
    folder = Path(CORPUS, "road", name)
    artifact = road.compile_model(
        folder / "model.onnx", tmp_path / "model.spx", f"--prefill-chunk={road.CHUNK}", "--buckets=1"
    )
    reference = load_file(folder / "ref.safetensors")
    for prefill in (1, 5, reference["ids"].shape[1] - 4):
        road.verify(artifact, reference["ids"], reference["logits"], prefill)
