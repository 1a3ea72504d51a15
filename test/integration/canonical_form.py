"""Runs a module in canonical form (docs/architecture.md §2) with NumPy: what the ops mean, one row at a time.

Reads the text of a raised module. Nothing here knows how the module was made.
"""

import json
import re
from pathlib import Path

import numpy as np

DTYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i64": np.int64}


class CanonicalModel:
    """`run(ids)` gives the logits of one batch; the caches live between calls until `reset`."""

    def __init__(self, text: str) -> None:
        self.weights: dict[str, np.ndarray] = {}
        self.ops: list[tuple[list[str], str, list[str], dict]] = []
        for line in text.splitlines():
            self._read(line.strip())
        self.reset()

    def reset(self) -> None:
        self.caches: list[np.ndarray] | None = None
        self.position = 0

    # Reading ---------------------------------------------------------------------------------------------------------

    def _read(self, line: str) -> None:
        if line.startswith("onnx.initializer"):
            name, tensor = re.match(r"onnx\.initializer @(\S+) : tensor<(\w+)>", line).groups()
            self.weights[name] = self._data(line, *_type(tensor))
        elif line.startswith("onnx.derived"):
            name, sources, steps, tensor = re.match(
                r"onnx\.derived @(\S+) from \[(.*?)\] steps \[(.*)\] : tensor<(\w+)>", line
            ).groups()
            self.weights[name] = self._derive(sources.lstrip("@"), steps, _type(tensor)[0])
        elif line.startswith("func.func"):
            self.arguments = re.findall(r"(%\w+): tensor", line.split("->")[0])
        elif line.startswith("return"):
            self.returned = line[len("return ") :].split(" : ")[0].split(", ")
        elif " = onnx." in line:
            results, rest = line.split(" = onnx.", 1)
            name = re.match(r"\w+", rest).group()
            operands = re.match(r"\w+ ?([^{:]*)", rest).group(1)
            self.ops.append((results.split(", "), name, re.findall(r"[%@][\w.]+", operands), _attributes(rest)))

    @staticmethod
    def _data(line: str, shape: list[int], dtype: type) -> np.ndarray:
        file = re.search(r'file "(.*?)" offset (\d+) length (\d+)', line)
        if file:
            with Path(file[1]).open("rb") as data:
                data.seek(int(file[2]))
                return np.frombuffer(data.read(int(file[3])), dtype).reshape(shape)
        value = re.search(r"value dense<(.*?)> : tensor", line)[1]
        if value.startswith('"0x'):
            return np.frombuffer(bytes.fromhex(value[3:-1]), dtype).reshape(shape)
        return np.broadcast_to(np.array(json.loads(value), dtype), shape)

    def _derive(self, source: str, steps: str, shape: list[int]) -> np.ndarray:
        value = self.weights.get(source)
        for step, arguments in re.findall(r"#onnx\.(\w+)<(.*?)>", steps):
            if step == "transpose":
                value = value.transpose(json.loads(arguments))
            elif step == "reshape":
                value = value.reshape(json.loads(arguments))
            elif step == "slice":
                axis, offset, size = (int(n) for n in re.findall(r"= (\d+)", arguments))
                value = value.take(range(offset, offset + size), axis=axis)
            elif step == "rope_table":
                function = np.cos if "fn = cos" in arguments else np.sin
                frequencies = np.array(json.loads(re.search(r"\[.*?\]", arguments)[0]), np.float32)
                scale = np.float32(re.search(r"scale = (\S+)", arguments)[1])
                value = scale * function(np.arange(shape[0], dtype=np.float32)[:, None] * frequencies)
            else:
                raise NotImplementedError(step)
        assert list(value.shape) == shape
        return value

    # Running ---------------------------------------------------------------------------------------------------------

    def run(self, ids: np.ndarray) -> np.ndarray:
        batch, sequence = ids.shape
        positions = np.broadcast_to(np.arange(self.position, self.position + sequence), ids.shape)
        if self.caches is None:
            attentions = [attributes for _, name, _, attributes in self.ops if name == "Attention"]
            self.caches = [np.zeros((batch, a["kv_num_heads"], 0, 0), np.float32) for a in attentions for _ in "kv"]
        self.values = dict(zip(self.arguments, [ids, positions, *self.caches], strict=True))
        for results, name, operands, attributes in self.ops:
            outputs = getattr(self, "_" + name.lower())(attributes, *operands)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            self.values.update(zip(results, outputs))
        logits, *self.caches = (self.values[name] for name in self.returned)
        self.position += sequence
        return logits

    def _v(self, *names: str) -> list[np.ndarray]:
        return [self.values[name] for name in names]

    def _novalue(self, _: dict) -> None:
        return None

    def _weight(self, _: dict, symbol: str) -> np.ndarray:
        return self.weights[symbol.lstrip("@")]

    def _gather(self, _: dict, table: str, indices: str) -> np.ndarray:
        table, indices = self._v(table, indices)
        return table[indices]

    def _matmul(self, _: dict, a: str, b: str) -> np.ndarray:
        a, b = self._v(a, b)
        return a @ b

    def _add(self, _: dict, a: str, b: str) -> np.ndarray:
        a, b = self._v(a, b)
        return a + b

    def _mul(self, _: dict, a: str, b: str) -> np.ndarray:
        a, b = self._v(a, b)
        return a * b

    def _swish(self, attributes: dict, x: str) -> np.ndarray:
        (x,) = self._v(x)
        return x / (1 + np.exp(-attributes.get("alpha", 1.0) * x))

    def _rmsnormalization(self, attributes: dict, x: str, scale: str) -> np.ndarray:
        x, scale = self._v(x, scale)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + attributes.get("epsilon", 1e-5)) * scale

    def _rotaryembedding(self, attributes: dict, x: str, cos: str, sin: str, positions: str) -> np.ndarray:
        x, cos, sin, positions = self._v(x, cos, sin, positions)
        heads = x.reshape(*x.shape[:2], attributes["num_heads"], -1)
        half = cos.shape[1]
        cos, sin = cos[positions][:, :, None], sin[positions][:, :, None]
        first, second, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
        turned = np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
        return turned.reshape(x.shape)

    def _attention(self, attributes: dict, *operands: str) -> tuple:
        q, k, v, mask, past_key, past_value, _ = self._v(*operands)
        assert mask is None
        assert attributes["is_causal"] == 1
        q = _heads(q, attributes["q_num_heads"])
        k, v = (_heads(x, attributes["kv_num_heads"]) for x in (k, v))
        past = past_key.shape[2]
        if past:
            k, v = np.concatenate([past_key, k], axis=2), np.concatenate([past_value, v], axis=2)
        group = attributes["q_num_heads"] // attributes["kv_num_heads"]
        scores = q @ k.repeat(group, axis=1).swapaxes(2, 3) * attributes.get("scale", q.shape[-1] ** -0.5)
        if attributes.get("softcap"):
            scores = attributes["softcap"] * np.tanh(scores / attributes["softcap"])
        query, key = np.arange(past, k.shape[2])[:, None], np.arange(k.shape[2])
        seen = key <= query
        if attributes.get("left_window_size", -1) >= 0:
            seen &= key >= query - attributes["left_window_size"]
        scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y = weights / weights.sum(-1, keepdims=True) @ v.repeat(group, axis=1)
        y = y.swapaxes(1, 2).reshape(q.shape[0], q.shape[2], -1)
        return y.astype(q.dtype), k, v


def _heads(x: np.ndarray, count: int) -> np.ndarray:
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def _type(text: str) -> tuple[list[int], type]:
    """`64x32xf32`"""
    *shape, element = text.split("x")
    return [int(n) for n in shape], DTYPES[element]


def _attributes(text: str) -> dict:
    pairs = re.findall(r"(\w+) = (-?[\d.]+(?:[eE][+-]?\d+)?) : [if]\d+", text)
    return {name: float(value) if "." in value else int(value) for name, value in pairs}
