"""Runs a decoder with ONNX Runtime, whole or cut into calls, whatever form it is in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime


class OrtDecoder:
    """One model and its cache. Rows of a batch have the same length and no padding."""

    def __init__(self, model: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        inputs = {value.name: value for value in self._session.get_inputs()}
        self._plain = [name for name in inputs if not name.startswith("past_key_values.")]
        self._past = [name for name in inputs if name.startswith("past_key_values.")]
        self._present = [name.replace("past_key_values", "present") for name in self._past]
        self._cache_dims = {name: inputs[name].shape for name in self._past}
        self.vocab: int = self._session.get_outputs()[0].shape[-1]
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.length = 0
        self._cache: dict[str, np.ndarray] = {}

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Feeds ids, int [batch, n], on top of the cache; gives logits, f32 [batch, n, vocab]."""
        batch, n = ids.shape
        if not self._cache:
            self._cache = {name: self._empty(name, batch) for name in self._past}
        total = self.length + n
        plain = {
            "input_ids": ids.astype(np.int64),
            "attention_mask": np.ones((batch, total), np.int64),
            "position_ids": np.broadcast_to(np.arange(self.length, total), (batch, n)).copy(),
        }
        feeds = {name: plain[name] for name in self._plain} | self._cache
        logits, *cache = self._session.run(["logits", *self._present], feeds)
        self._cache = dict(zip(self._past, cache, strict=True))
        self.length = total
        return logits

    def run(self, ids: np.ndarray, cuts: Sequence[int] = ()) -> np.ndarray:
        """Logits of every position from an empty cache, fed in pieces of the lengths in `cuts`, then the rest."""
        self.reset()
        pieces, start = [], 0
        for n in [*cuts, ids.shape[1] - sum(cuts)]:
            if n > 0:
                pieces.append(self.step(ids[:, start : start + n]))
                start += n
        return np.concatenate(pieces, axis=1)

    def _empty(self, name: str, batch: int) -> np.ndarray:
        _, kv_heads, _, head_dim = self._cache_dims[name]
        return np.zeros((batch, kv_heads, 0, head_dim), np.float32)


def greedy(decoder: OrtDecoder, ids: Sequence[int], count: int, stop: int | None = None) -> list[int]:
    """Up to `count` tokens that follow `ids`, each the likeliest (ties to the lower id); ends after `stop`."""
    decoder.reset()
    logits = decoder.step(np.array([ids]))
    generated: list[int] = []
    while True:
        generated.append(int(logits[0, -1].argmax()))
        if len(generated) == count or generated[-1] == stop:
            return generated
        logits = decoder.step(np.array([generated[-1:]]))
