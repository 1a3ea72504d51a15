"""Tokens from logits: the runtime's sampler and the compiled entry equal the oracle, and generations equal single steps."""

import ctypes
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sparse_opt
from oracles import sampling
from road import EVERY_BUCKET, GQA3, POLICIES

STOPS = 8


@pytest.mark.parametrize("vocab", [1, 2, 5, 64, 317, 5000])
def test_the_runtime_equals_the_oracle(vocab: int) -> None:
    rng = np.random.default_rng([vocab, 1])
    for _ in range(300 if vocab < 1000 else 60):
        logits, parameters = sampling.random_case(rng, vocab)
        expected = sampling.sample(logits, **parameters)
        counter = parameters.pop("counter")
        chosen = sparse_opt.Sampling(**parameters)
        if expected < 0:
            with pytest.raises(sparse_opt.InternalError):
                chosen.choose(logits, counter)
        else:
            assert chosen.choose(logits, counter) == expected, (parameters, counter)


class CompiledSampler:
    """The entry `sample_b*` of an artifact, called as the runtime calls it."""

    def __init__(self, artifact: Path, rows: int) -> None:
        plan = json.loads((artifact / f"plans/cpu/sample_b{rows}.json").read_text())
        manifest = json.loads((artifact / "manifest.json").read_text())
        targets = manifest["devices"]["cpu"]["targets"]
        self.library = ctypes.CDLL(str(artifact / targets[-1]["code"]))
        self.buffers, (self.step,) = plan["buffers"], plan["steps"]

    def __call__(self, arrays: dict[str, np.ndarray]) -> None:
        pointers = []
        for buffer in self.buffers:
            assert buffer["kind"] in ("input", "output")
            assert arrays[buffer["name"]].nbytes == buffer["bytes"]
            pointers.append(arrays[buffer["name"]].ctypes.data)
        arguments = (ctypes.c_void_p * len(self.step["args"]))(*[pointers[i] for i in self.step["args"]])
        for task in range(self.step["grid"]):
            getattr(self.library, self.step["kernel"])(arguments, ctypes.c_int64(task))


def check_rows(call: Callable, rng: np.random.Generator, rows: int, vocab: int) -> None:
    """One call on random rows; some of them are padding, some end."""
    cases = [sampling.random_case(rng, vocab) for _ in range(rows)]
    expected = [sampling.sample(logits, **parameters) for logits, parameters in cases]
    column = {name: [parameters[name] for _, parameters in cases] for name in cases[0][1]}
    active = (rng.random(rows) < 0.8).astype(np.int32)
    stops = np.full((rows, STOPS), -1, np.int32)
    for row, token in enumerate(expected):
        if rng.random() < 0.5:
            stops[row, rng.integers(0, STOPS)] = max(token, 0) if rng.random() < 0.5 else rng.integers(0, vocab)
    before = {
        "logits": np.stack([logits for logits, _ in cases]),
        "ids": rng.integers(0, vocab, rows, dtype=np.int32),
        "positions": rng.integers(0, 1000, rows, dtype=np.int32),
        "active": active,
        "temperature": np.array(column["temperature"], np.float32),
        "top_k": np.array(column["top_k"], np.int32),
        "top_p": np.array(column["top_p"], np.float32),
        "seeds": np.array(column["seed"], np.uint64),
        "counters": np.array(column["counter"], np.uint64),
        "stops": stops,
        "tokens": np.full(rows, -7, np.int32),
    }
    after = {name: array.copy() for name, array in before.items()}
    call(after)
    for row, token in enumerate(expected):
        has_token = active[row] and token >= 0
        goes_on = int(has_token and token not in stops[row])
        where = (row, cases[row][1])
        assert after["tokens"][row] == (token if has_token else -1), where
        assert after["ids"][row] == (token if has_token else before["ids"][row]), where
        assert after["active"][row] == goes_on, where
        assert after["positions"][row] == before["positions"][row] + goes_on, where
        assert int(after["counters"][row]) == (int(before["counters"][row]) + int(has_token)) % 2**64, where
    for name in ("logits", "temperature", "top_k", "top_p", "seeds", "stops"):
        np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.parametrize("options", [(), ("--reference",)])
def test_the_compiled_entry_equals_the_oracle(options: tuple, tiny: Callable, compiled: Callable) -> None:
    artifact = compiled(tiny(GQA3, 3), *options, buckets="1,4")
    rng = np.random.default_rng(len(options))
    for rows in (1, 4):
        call = CompiledSampler(artifact, rows)
        for _ in range(100):
            check_rows(call, rng, rows, GQA3.vocab)


@pytest.mark.parametrize("name", POLICIES)
def test_generations_equal_single_steps(name: str, tiny: Callable, compiled: Callable) -> None:
    """Rows with their own parameters, two steps ahead, give what decode and the oracle give one by one."""
    model = tiny(GQA3, 3)
    loaded = sparse_opt.load(compiled(model, policy=POLICIES[name], buckets=EVERY_BUCKET))
    ways = [
        sparse_opt.Sampling(),
        sparse_opt.Sampling(temperature=0.9, seed=5),
        sparse_opt.Sampling(temperature=1.5, seed=6, top_k=10),
        sparse_opt.Sampling(temperature=1.1, seed=7, top_k=50, top_p=0.9),
    ]
    steps = 30
    for index, way in enumerate(ways):
        prompt = model.ids(40 + index, 5 + 11 * index)
        context = loaded.context(max_sequences=3, check_counts=True)
        with context.sequence() as alone:
            logits = alone.prefill(prompt)
            expected = []
            for counter in range(steps):
                token = sampling.sample(logits, way.temperature, way.top_k, way.top_p, way.seed, counter)
                expected.append(token)
                logits = alone.decode(token)
        arguments = {"temperature": way.temperature, "seed": way.seed, "top_k": way.top_k, "top_p": way.top_p}
        got = list(loaded.generate(list(prompt), max_new_tokens=steps, context=context, **arguments))
        assert got == expected
        # A text ends where it ends, and the cache holds all but the last token.
        stop = expected[9]
        end = expected.index(stop)
        with context.sequence() as row, context.sequence() as other:
            logits = row.prefill(prompt)
            other.prefill(prompt[:3])
            first = way.choose(logits, 0)
            got = [first]
            if first != stop:
                with context.generation([row], [first], sampling=way, index=1, stop_ids=[stop]) as generation:
                    generation.step()
                    while got[-1] != stop:
                        generation.step()
                        got += generation.read()
                    assert generation.read() == [-1]
            assert got == expected[: end + 1]
            assert len(row) == len(prompt) + end
            token = stop
            for counter in range(end + 1, steps):
                token = way.choose(row.decode(token), counter)
                assert token == expected[counter]
