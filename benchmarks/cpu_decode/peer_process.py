"""A peer in a process of its own: answers one request a line.

    peer_process.py KIND MODEL THREADS

Requests and answers are JSON objects. {"case": "prefill", "tokens": n} and {"case": "decode", "context": n,
"tokens": n} are answered with {"seconds": s, "tokens": n}: the time of all the tokens. The first request of a case
warms up. What a case needs (a filled cache) is made outside the timed part and kept.
"""

import json
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

CHUNK = 512  # prompt tokens of one call where the prompt itself is not timed


def prompt(length: int, vocab: int) -> np.ndarray:
    """Random ids, I64 [length]; the time does not depend on them."""
    return np.random.default_rng(length).integers(0, vocab, length, dtype=np.int64)


class Peer(ABC):
    """What is measured. Both methods give the seconds of the timed part."""

    @abstractmethod
    def prefill(self, tokens: int) -> float:
        """A prompt from an empty cache to the logits of its last token."""

    @abstractmethod
    def decode(self, context: int, tokens: int) -> float:
        """Greedy tokens one by one, the first on top of `context` tokens."""

    @abstractmethod
    def version(self) -> str:
        """Package and version."""


class OnnxRuntime(Peer):
    """A model with past and present, fed by OrtValues so that no cache is copied in or out."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        self._runtime = onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._past = [name for name in inputs if name.startswith("past_key_values.")]
        self._plain = [name for name in inputs if name not in self._past]
        self._outputs = ["logits", *(name.replace("past_key_values", "present") for name in self._past)]
        _, kv_heads, _, head_dim = inputs[self._past[0]]
        self._head_dim = head_dim if isinstance(head_dim, int) else _head_dim(model)
        self._kv_heads = kv_heads
        self._vocab = self._session.get_outputs()[0].shape[-1]
        self._filled: dict[int, tuple] = {}

    def prefill(self, tokens: int) -> float:
        ids = prompt(tokens, self._vocab)
        empty = self._empty()
        start = time.perf_counter()
        self._step(ids, 0, empty)
        return time.perf_counter() - start

    def decode(self, context: int, tokens: int) -> float:
        if context not in self._filled:
            self._filled = {context: self._fill(context)}
        token, cache = self._filled[context]
        start = time.perf_counter()
        for position in range(context, context + tokens):
            token, cache = self._step(token, position, cache)
        return time.perf_counter() - start

    def version(self) -> str:
        return f"onnxruntime {self._runtime.__version__}"

    def _fill(self, context: int) -> tuple:
        cache, ids = self._empty(), prompt(context, self._vocab)
        for start in range(0, context, CHUNK):
            token, cache = self._step(ids[start : start + CHUNK], start, cache)
        return token, cache

    def _empty(self) -> list:
        nothing = np.zeros((1, self._kv_heads, 0, self._head_dim), np.float32)
        return [self._runtime.OrtValue.ortvalue_from_numpy(nothing) for _ in self._past]

    def _step(self, ids: np.ndarray, past: int, cache: list) -> tuple:
        """Feeds ids [n]; gives the likeliest next token [1] and the grown cache."""
        total = past + len(ids)
        plain = {
            "input_ids": ids[None],
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(past, total)[None],
        }
        feeds = {name: self._runtime.OrtValue.ortvalue_from_numpy(plain[name]) for name in self._plain}
        feeds |= dict(zip(self._past, cache, strict=True))
        logits, *cache = self._session.run_with_ort_values(self._outputs, feeds)
        return logits.numpy()[0, -1:].argmax(axis=-1), cache


def _head_dim(model: Path) -> int:
    """GenAI's models name this extent instead of giving it."""
    return json.loads((model.parent / "genai_config.json").read_text())["model"]["decoder"]["head_size"]


class Genai(Peer):
    """ONNX Runtime GenAI with its cache buffer shared between past and present."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime_genai

        self._genai = onnxruntime_genai
        config = onnxruntime_genai.Config(str(model.parent))
        decoder = {"filename": model.name, "session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": decoder}}))
        self._model = onnxruntime_genai.Model(config)
        self._vocab = json.loads((model.parent / "genai_config.json").read_text())["model"]["vocab_size"]
        self._filled: dict[tuple[int, int], object] = {}

    def prefill(self, tokens: int) -> float:
        ids = prompt(tokens, self._vocab).astype(np.int32)
        generator = self._generator(tokens + 1)
        start = time.perf_counter()
        generator.append_tokens(ids)
        generator.generate_next_token()
        return time.perf_counter() - start

    def decode(self, context: int, tokens: int) -> float:
        key = context, tokens
        if key not in self._filled:
            generator = self._generator(context + tokens + 1)
            ids = prompt(context, self._vocab).astype(np.int32)
            for start in range(0, context, CHUNK):
                generator.append_tokens(ids[start : start + CHUNK])
            self._filled = {key: generator}
        generator = self._filled[key]
        if generator.token_count() > context:
            generator.rewind_to(context - 1)
            generator.append_tokens(prompt(context, self._vocab).astype(np.int32)[-1:])
        generator.generate_next_token()  # takes the token of the logits at hand; the next ones run the model first
        start = time.perf_counter()
        for _ in range(tokens):
            generator.generate_next_token()
        return time.perf_counter() - start

    def version(self) -> str:
        return f"onnxruntime-genai {self._genai.__version__}"

    def _generator(self, length: int) -> object:
        parameters = self._genai.GeneratorParams(self._model)
        parameters.set_search_options(min_length=length, max_length=length, do_sample=False)
        return self._genai.Generator(self._model, parameters)


KINDS = {"onnxruntime": OnnxRuntime, "genai": Genai}


def main() -> None:
    kind, model, threads = sys.argv[1:]
    peer = KINDS[kind](Path(model).resolve(), int(threads))
    print(json.dumps({"version": peer.version()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["case"] == "prefill":
            seconds = peer.prefill(request["tokens"])
        else:
            seconds = peer.decode(request["context"], request["tokens"])
        print(json.dumps({"seconds": seconds, "tokens": request["tokens"]}), flush=True)


if __name__ == "__main__":
    main()
