"""Layers that share what they keep (D2O with `budgets: variance`): artifacts against the oracle, whatever happens to a
sequence.

Two KV heads always have the same spread (the scaled variances are 0 and 1), so models here have three and more.
"""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import road
import sparse_opt
from common.config import LlamaConfig
from oracles.model import Decoder, LayerPolicy
from oracles.policy_file import parse_policies
from road import rules

PAGE = 4
GROUPS = (1, 3, 4, 8)  # query heads of a KV head
# Tokens of the prompt, and in all.
LENGTHS = ((0, 70), (1, 40), (2, 30), (19, 60), (40, 41), (70, 100), (120, 125))


@dataclass(frozen=True)
class Kept:
    """What a session says of the heads of one layer."""

    budgets: list[int]
    positions: list[list[int]]


def kept_by(path: Path) -> list[Kept]:
    """Reads budgets and positions from a session (docs/architecture.md §7)."""
    data = path.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    header = json.loads(data[16 : 16 + size])
    at = 16 + size + 4 * header["tokens"] + header["note_bytes"]
    budgets, heads = iter(header.get("budgets", [0] * len(header["heads"]))), iter(header["heads"])
    kept = []
    for layer in header["layers"]:
        own = [next(heads)[0] for _ in range(layer["kv_heads"])]
        positions = [list(range(extent)) for extent in own]
        for field in layer["fields"]:
            if field["per"] == "sequence":
                at += field["bytes"]
                continue
            for head, extent in enumerate(own):
                entries = field["bytes"] * -(-extent // layer["page"])
                if field["name"] == "position":
                    positions[head] = np.frombuffer(data[at : at + entries], np.int32)[:extent].tolist()
                at += entries
        kept.append(Kept([next(budgets) for _ in own], [sorted(p for p in slots if p >= 0) for slots in positions]))
    return kept


def draw_layer(rng: random.Random, layer: int, kv_heads: int) -> list[str]:
    """One that shares, alone or beside others, or one that does not."""
    heavy, recent = rng.choice([4, 9, 18]), rng.choice([1, 6, 13])
    own = sorted(rng.sample(range(kv_heads), kv_heads - 1))
    kind = rng.choice(["shares", "shares", "some heads", "other"])
    heads = f", heads: {own}" if kind == "some heads" else ""
    text = (
        f"d2o: {{budgets: variance, heavy: {heavy}, recent: {recent}, sinks: {rng.choice([0, 2, 4])}, "
        f"mode: {rng.choice(['code', 'convex'])}, merge_keys: {rng.choice(['true', 'false'])}{heads}}}"
    )
    if kind == "some heads" and rng.random() < 0.7:
        rest = next(head for head in range(kv_heads) if head not in own)
        text += ", " + rng.choice([
            f"streaming: {{sinks: 2, window: 11, heads: [{rest}]}}",
            f"h2o: {{heavy: 12, recent: 6, over: 50, heads: [{rest}]}}",
        ])  # fmt: skip
    if kind == "other":
        text = rng.choice(["h2o: {heavy: 9, recent: 9, prefill: chunked}", "d2o: {heavy: 9, recent: 9}"])
    lines = [f"layers: {layer}, kv: {{{text}}}"]
    if layer % 2:
        budget = PAGE * rng.choice([2, 3])
        lines.append(f"layers: {layer}, attention: {{page_topk: {{page: {PAGE}, budget: {budget}}}}}")
    return lines


@dataclass(frozen=True)
class Case:
    config: LlamaConfig
    policy: str
    chunk: int

    @staticmethod
    def draw(index: int) -> "Case":
        rng = random.Random(f"layer budgets {index}")
        group, kv_heads = GROUPS[index % len(GROUPS)], rng.choice([3, 4, 5])
        layers = rng.choice([4, 5, 7])
        config = LlamaConfig(layers=layers, heads=kv_heads * group, kv_heads=kv_heads, hidden=48, ffn=64, vocab=61,
                             head_dim=8 * rng.choice([1, 2, 3]), max_positions=256)  # fmt: skip
        # The first two layers always share, and the last is dense.
        lines = ["layers: 0-1, kv: {d2o: {budgets: variance, heavy: 14, recent: 9}}"]
        lines += [line for layer in range(2, layers - 1) for line in draw_layer(rng, layer, kv_heads)]
        return Case(config, rules(*lines), rng.choice([5, 6, 16]))


def check(
    artifact: Path, model: road.TinyModel, policy: str, ids: np.ndarray, prefill: int, chunk: int, path: Path
) -> set[int]:
    """Logits, counters, budgets and kept tokens are those of the oracle; gives the budgets."""
    policies = parse_policies(policy, model.config.layers, model.config.kv_heads)
    oracle = Decoder(model.network, policies)
    expected = oracle.run(ids, prefill, chunk)
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        logits = road.feed(sequence, ids, [prefill] if prefill else [])
        counted = [layer.get("merged", 0) for layer in sequence.counters()]
        sequence.save(path)
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
    assert counted == [sum(heads) for heads in oracle.merged]
    for kept, caches in zip(kept_by(path), oracle.caches, strict=True):
        assert kept.budgets == [cache.budget or 0 for cache in caches]
        assert kept.positions == [sorted(cache.position[cache.live].tolist()) for cache in caches]
    return {cache.budget for caches in oracle.caches for cache in caches if cache.budget}


@pytest.mark.parametrize("index", range(8))
def test_random_policies_equal_their_oracle(index: int, tiny: Callable, compiled: Callable, tmp_path: Path) -> None:
    case = Case.draw(index)
    model = tiny(case.config, index)
    print(case.policy)
    artifact = compiled(model, f"--page={PAGE}", policy=case.policy, chunk=case.chunk)
    seen = set()
    for prompt, n in LENGTHS:
        seen |= check(artifact, model, case.policy, model.ids(n, n), prompt, case.chunk, tmp_path / "one.session")
    assert len(seen) > 2, "the layers share in no way"


# Four layers of four KV heads that share, one that does not and one that is dense.
SHARING = LlamaConfig(layers=6, heads=12, kv_heads=4, head_dim=16, hidden=48, ffn=64, vocab=61, max_positions=256)
POLICY = rules(
    "layers: 0-3, kv: {d2o: {budgets: variance, heavy: 16, recent: 9}}",
    "layers: 2, attention: {page_topk: {page: 4, budget: 16}}",
    "layers: 3, kv: {d2o: {budgets: variance, heavy: 16, recent: 9, merge_keys: false, heads: [0, 2, 3]}}",
    "layers: 4, kv: {h2o: {heavy: 9, recent: 9, prefill: chunked}}",
)


@pytest.fixture
def model(tiny: Callable) -> road.TinyModel:
    return tiny(SHARING, 5)


@pytest.fixture
def artifact(model: road.TinyModel, compiled: Callable) -> Path:
    return compiled(model, f"--page={PAGE}", policy=POLICY, buckets=road.EVERY_BUCKET)


def follow(sequence: sparse_opt.Sequence, ids: np.ndarray) -> np.ndarray:
    return np.array([sequence.decode(int(token)) for token in ids])


def test_reference_kernels_agree(model: road.TinyModel, compiled: Callable, tmp_path: Path) -> None:
    for options in (["--reference"], []):
        artifact = compiled(model, f"--page={PAGE}", *options, policy=POLICY)
        assert len(check(artifact, model, POLICY, model.ids(1, 80), 50, road.CHUNK, tmp_path / "one.session")) > 2


def budgets_of(path: Path) -> list[list[int]]:
    return [kept.budgets for kept in kept_by(path)]


@pytest.mark.parametrize("stored", ["int8", "bf16"])
def test_codes_and_bf16(
    stored: str, model: road.TinyModel, compiled: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Close calls may fall otherwise after a rounding, so nearly all rows are near."""
    policy, options = POLICY, []
    if stored == "bf16":
        options = ["--kv-dtype=bf16"]
        monkeypatch.setattr(LayerPolicy, "stored", lambda _, rows: road.as_bf16(rows))
    else:
        policy += "  - {layers: 0-1, kv: {d2o: {budgets: variance, heavy: 16, recent: 9}, quantize: {}}}\n"
    ids = model.ids(1, 80)
    oracle = Decoder(model.network, parse_policies(policy, SHARING.layers, SHARING.kv_heads))
    expected = oracle.run(ids, 50, road.CHUNK)
    artifact = compiled(model, f"--page={PAGE}", *options, policy=policy)
    with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
        logits = road.feed(sequence, ids, [50])
        sequence.save(tmp_path / "one.session")
    assert np.median(np.abs(logits - expected).max(axis=-1)) < 1e-2
    assert budgets_of(tmp_path / "one.session") == [[c.budget or 0 for c in caches] for caches in oracle.caches]


def test_one_layer_keeps_what_the_parameters_say(model: road.TinyModel, compiled: Callable) -> None:
    """A layer that shares with no other gets all of it: bit for bit the uniform form."""
    logits = []
    for budgets in ("uniform", "variance"):
        policy = rules(f"layers: 1, kv: {{d2o: {{budgets: {budgets}, heavy: 16, recent: 9}}}}")
        artifact = compiled(model, f"--page={PAGE}", policy=policy)
        with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
            logits.append(road.feed(sequence, model.ids(3, 90), [40, 13]))
    np.testing.assert_array_equal(*logits)


def test_a_budget_of_the_context_is_dense(model: road.TinyModel, compiled: Callable) -> None:
    """The layer of the least share gets more than a third of 768."""
    policy = rules("layers: all, kv: {d2o: {budgets: variance, heavy: 512, recent: 256}}")
    dense, whole = (compiled(model, f"--page={PAGE}", policy=text) for text in ("", policy))
    for prompt, n in ((0, 30), (7, 100), (200, 256)):
        logits = []
        for artifact in (dense, whole):
            with sparse_opt.load(artifact).context(check_counts=True).sequence() as sequence:
                logits.append(road.feed(sequence, model.ids(n, n), [prompt] if prompt else []))
        np.testing.assert_array_equal(*logits)


def test_later_prompts_keep_the_budgets_of_the_first(artifact: Path, model: road.TinyModel, tmp_path: Path) -> None:
    ids, path = model.ids(1, 150), tmp_path / "one.session"
    oracle = Decoder(model.network, parse_policies(POLICY, SHARING.layers, SHARING.kv_heads))
    oracle.run(ids[:8], 0)  # steps before the first prompt
    pieces = [(8, 50, 42), (50, 80, 10), (80, 150, 40)]
    context = sparse_opt.load(artifact).context(check_counts=True)
    with context.sequence() as sequence:
        road.feed(sequence, ids[:8], [])
        for start, end, prompt in pieces:
            expected = oracle.run(ids[start:end], prompt, road.CHUNK)
            logits = road.feed(sequence, ids[start:end], [prompt])
            np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
            sequence.save(path)
            assert budgets_of(path) == [[cache.budget or 0 for cache in caches] for caches in oracle.caches]


def test_batches_and_forks_are_single_runs(artifact: Path, model: road.TinyModel) -> None:
    """Rows of one batch whose prompts set different budgets, and a fork of one of them."""
    context = sparse_opt.load(artifact).context(check_counts=True)
    rows = [model.ids(seed, 110) for seed in range(3)]
    prompts = [30, 57, 70]

    def alone(ids: np.ndarray, prompt: int) -> np.ndarray:
        with context.sequence() as sequence:
            sequence.prefill(ids[:prompt])
            return follow(sequence, ids[prompt : prompt + 40])

    expected = [alone(row, prompt) for row, prompt in zip(rows, prompts, strict=True)]
    sequences = [context.sequence() for _ in rows]
    for sequence, row, prompt in zip(sequences, rows, prompts, strict=True):
        sequence.prefill(row[:prompt])
    for step in range(40):
        tokens = [int(row[prompt + step]) for row, prompt in zip(rows, prompts, strict=True)]
        logits = context.decode(sequences, tokens)
        for got, want in zip(logits, expected, strict=True):
            np.testing.assert_array_equal(got, want[step])
        if step == 20:
            fork = sequences[1].fork()
            np.testing.assert_array_equal(follow(fork, rows[1][57 + 21 : 57 + 40]), expected[1][21:])
            fork.close()


def test_a_cleared_sequence_has_no_budgets(artifact: Path, model: road.TinyModel, tmp_path: Path) -> None:
    context = sparse_opt.load(artifact).context(check_counts=True)
    with context.sequence() as sequence:
        sequence.prefill(model.ids(1, 9))
        sequence.save(tmp_path / "first.session")
        assert any(any(kept.budgets) for kept in kept_by(tmp_path / "first.session"))
        sequence.trim(0)
        sequence.save(tmp_path / "none.session")
        assert not any(any(kept.budgets) for kept in kept_by(tmp_path / "none.session"))
        sequence.prefill(model.ids(2, 60))
        logits = follow(sequence, model.ids(3, 30))
    with context.sequence() as sequence:
        sequence.prefill(model.ids(2, 60))
        np.testing.assert_array_equal(follow(sequence, model.ids(3, 30)), logits)


def test_saved_and_restored(artifact: Path, model: road.TinyModel, tmp_path: Path) -> None:
    """Before a prompt, after one that fits, and at every step after one that does not."""
    context = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    other = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    path = tmp_path / "one.session"
    for prompt, steps in ((0, 3), (5, 40), (70, 12)):
        rest = model.ids(2, 60)
        with context.sequence() as sequence:
            if prompt:
                sequence.prefill(model.ids(1, prompt))
            for step in range(steps):
                sequence.save(path)
                kept = kept_by(path)
                with sequence.fork() as fork:
                    expected = fork.prefill(rest[step : step + 20]), follow(fork, rest[step + 20 : step + 30])
                with other.restore(path) as restored:
                    restored.save(path)
                    assert kept_by(path) == kept
                    np.testing.assert_array_equal(restored.prefill(rest[step : step + 20]), expected[0])
                    np.testing.assert_array_equal(follow(restored, rest[step + 20 : step + 30]), expected[1])
                sequence.decode(int(rest[step]))


def rewritten(data: bytes, change: Callable[[dict], None]) -> bytes:
    """A session with another header and the digest that goes with it."""
    size = int.from_bytes(data[12:16], "little")
    header = json.loads(data[16 : 16 + size])
    change(header)
    text = json.dumps(header).encode()
    body = data[:12] + len(text).to_bytes(4, "little") + text + data[16 + size : -64]
    return body + hashlib.sha256(body).hexdigest().encode()


def test_budgets_of_another_session_are_refused(artifact: Path, model: road.TinyModel, tmp_path: Path) -> None:
    context = sparse_opt.load(artifact).context(max_sequences=2, check_counts=True)
    path = tmp_path / "one.session"
    with context.sequence() as sequence:
        sequence.prefill(model.ids(1, 60))
        sequence.save(path)
    whole = path.read_bytes()

    def restore(change: Callable[[dict], None]) -> None:
        path.write_bytes(rewritten(whole, change))
        context.restore(path).close()

    def set_to(head: int, budget: object) -> Callable[[dict], None]:
        return lambda header: header["budgets"].__setitem__(head, budget)

    restore(lambda header: None)
    first = json.loads(whole[16 : 16 + int.from_bytes(whole[12:16], "little")])["budgets"][0]
    for change, message in (
        (set_to(0, first + 1), "cannot have|in the fields"),
        (set_to(0, 1 << 20), "cannot have a budget"),
        (set_to(0, 0), "cannot have|in the fields"),
        (set_to(0, -1), "expected"),
        (set_to(0, "7"), "expected"),
        (set_to(13, 2), "in the fields|cannot have"),  # a head of layer 3 that keeps everything
        (set_to(16, 5), "cannot have a budget"),  # a layer whose caps no prompt sets
        (set_to(20, 5), "cannot have a budget"),  # a dense one
        (lambda header: header["budgets"].pop(), "as many as"),
        (lambda header: header.pop("budgets"), "cannot have|in the fields"),
    ):
        with pytest.raises(sparse_opt.SparseError, match=message):
            restore(change)


def test_beginnings_of_prompts_have_no_budgets(artifact: Path, model: road.TinyModel) -> None:
    """What is kept of a prompt is what a longer one begins with, too."""
    begin, ends = model.ids(1, 48), [model.ids(seed, 23) for seed in (2, 3)]
    rest = model.ids(4, 30)
    plain = sparse_opt.load(artifact).context(check_counts=True)
    keeping = sparse_opt.load(artifact).context(check_counts=True, prefix_cache_bytes=1 << 26)
    for end in (*ends, ends[0]):
        logits = []
        for context in (plain, keeping):
            with context.sequence() as sequence:
                logits.append([sequence.prefill(np.concatenate([begin, end])), *follow(sequence, rest)])
        np.testing.assert_array_equal(*logits)
    assert keeping.usage().prefix_hits > 0
