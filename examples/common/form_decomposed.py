"""The decoder in primitive operators, opset 18: the form that tracing exporters write for it.

Attention, RMSNorm and rotary embedding are spelled out, the mask is boolean arithmetic over index ranges and the
padding mask, reshapes compute their shapes from the tensors at hand, and the caches grow by Concat.
"""

import numpy as np
from onnx import TensorProto, numpy_helper

from .form import BATCH, F32, I64, SEQUENCE, TOTAL, Form, past, present
from .graph import Graph
from .rope import inverse_frequencies

BOOL = TensorProto.BOOL
END = np.iinfo(np.int64).max


class DecomposedForm(Form):
    name = "decomposed"
    ir_version = 8
    opsets = {"": 18}

    def declare_inputs(self, g: Graph) -> None:
        g.input("input_ids", I64, [BATCH, SEQUENCE])
        g.input("attention_mask", I64, [BATCH, TOTAL])
        g.input("position_ids", I64, [BATCH, SEQUENCE])

    def prepare(self, g: Graph, embedded: str) -> None:
        self._mask = self._causal_mask(g, embedded)
        with g.scope("rotary_emb"):
            self._cos, self._sin = self._rotary(g)

    # Masks -----------------------------------------------------------------------------------------------------------

    def _causal_mask(self, g: Graph, embedded: str) -> str:
        """Bool [batch, 1, sequence, total]: key not after the query, and not padding."""
        past_length = _dim(g, past(0, "key"), 2)
        sequence = _dim(g, embedded, 1)
        total = g.op("Add", past_length, sequence)
        queries = g.op("Range", past_length, total, g.scalar(1))
        queries = _unsqueeze(g, queries, 0, 1, 3)
        keys = _unsqueeze(g, g.op("Range", g.scalar(0), total, g.scalar(1)), 0, 1, 2)
        batch = _dim(g, embedded, 0)
        rows = _unsqueeze(g, g.op("Range", g.scalar(0), batch, g.scalar(1)), 1, 2, 3)

        true = g.op("ConstantOfShape", g.ints(), value=_tensor(np.array([True])))
        causal = g.op("And", true, g.op("Cast", g.op("LessOrEqual", keys, queries), to=BOOL))

        mask = g.op("Cast", "attention_mask", to=BOOL)
        width = g.op("Gather", g.op("Shape", mask), g.ints(1), axis=0)
        flat = g.op("Flatten", mask, axis=2)
        index = g.op("Add", keys, g.op("Mul", rows, width))
        gathered = g.op("Reshape", g.op("Gather", flat, index, axis=0), g.ints(-1), allowzero=0)
        padding = g.op("Cast", g.op("Reshape", gathered, g.op("Shape", index), allowzero=0), to=BOOL)

        both = g.op("And", causal, padding)
        shape = _concat(g, _unsqueeze(g, batch, 0), g.ints(-1), _unsqueeze(g, sequence, 0), _unsqueeze(g, total, 0))
        return _expand(g, both, shape)

    # Rotary embedding ------------------------------------------------------------------------------------------------

    def _rotary(self, g: Graph) -> tuple[str, str]:
        """Cosine and sine, f32 [batch, sequence, head_dim], both halves alike."""
        frequencies = g.constant(inverse_frequencies(self.config).reshape(1, -1, 1))
        shape = _concat(g, _unsqueeze(g, _dim(g, "position_ids", 0), 0), g.ints(-1), g.ints(1))
        frequencies = g.op("Cast", _expand(g, frequencies, shape), to=F32)
        positions = g.op("Cast", _unsqueeze(g, "position_ids", 1), to=F32)
        angles = g.op("Transpose", g.op("MatMul", frequencies, positions), perm=[0, 2, 1])
        angles = g.op("Concat", angles, angles, axis=-1)
        scaled = (g.op("Mul", g.op(function, angles), g.scalar(1.0)) for function in ("Cos", "Sin"))
        cos, sin = (g.op("Cast", value, to=F32) for value in scaled)
        return cos, sin

    def _rotate(self, g: Graph, x: str, cos: str, sin: str) -> str:
        """`x cos + rotate_half(x) sin` on f32 [batch, heads, sequence, head_dim]."""
        straight = g.op("Mul", x, cos)
        half = g.op("Cast", g.op("Cast", g.op("Div", _dim(g, x, 3), g.scalar(2)), to=I64), to=I64)
        first = g.op("Slice", x, g.ints(0), _unsqueeze(g, half, 0), g.ints(3), g.ints(1))
        second = g.op("Slice", x, _unsqueeze(g, half, 0), g.ints(END), g.ints(3), g.ints(1))
        turned = g.op("Concat", g.op("Neg", second), first, axis=-1)
        return g.op("Add", straight, g.op("Mul", turned, sin))

    # Norm and attention ----------------------------------------------------------------------------------------------

    def norm(self, g: Graph, x: str, weight: str) -> str:
        x = g.op("Cast", x, to=F32)
        mean = g.op("ReduceMean", g.op("Pow", x, g.scalar(2.0)), g.ints(-1), keepdims=1)
        root = g.op("Sqrt", g.op("Add", mean, g.scalar(self.config.norm_epsilon)))
        normed = g.op("Mul", x, g.op("Div", g.scalar(1.0), root))
        return g.op("Mul", g.weight(weight), g.op("Cast", normed, to=F32))

    def attention(self, g: Graph, layer: int, x: str) -> str:
        c = self.config
        batch, sequence = _dim(g, x, 0), _dim(g, x, 1)
        q, k, v = (self._heads(g, layer, part, x, batch, sequence) for part in ("q_proj", "k_proj", "v_proj"))
        cos, sin = _unsqueeze(g, self._cos, 1), _unsqueeze(g, self._sin, 1)
        q, k = self._rotate(g, q, cos, sin), self._rotate(g, k, cos, sin)

        k = g.op("Concat", past(layer, "key"), k, axis=-2, output=present(layer, "key"))
        v = g.op("Concat", past(layer, "value"), v, axis=-2, output=present(layer, "value"))
        k, v = self._repeat_kv(g, k), self._repeat_kv(g, v)

        length = _unsqueeze(g, _dim(g, k, 2), 0)
        mask = g.op("Slice", self._mask, g.ints(0), length, g.ints(3), g.ints(1))
        root = c.head_dim**-0.25  # the scale, half of it on each side
        q = g.op("Mul", q, g.scalar(root))
        k = g.op("Mul", g.op("Transpose", k, perm=[0, 1, 3, 2]), g.scalar(root))
        bias = g.op("Where", mask, _floats(g, 0.0), _floats(g, -np.inf))
        weights = g.op("Softmax", g.op("Add", g.op("MatMul", q, k), bias), axis=-1)
        weights = g.op("Where", g.op("IsNaN", weights), _floats(g, 0.0), weights)
        y = g.op("Transpose", g.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        shape = _concat(g, _unsqueeze(g, batch, 0), _unsqueeze(g, sequence, 0), g.ints(-1))
        return self.linear(g, layer, "self_attn.o_proj", g.op("Reshape", y, shape, allowzero=0))

    def _heads(self, g: Graph, layer: int, part: str, x: str, batch: str, sequence: str) -> str:
        """Projects and splits: f32 [batch, heads, sequence, head_dim]."""
        y = self.linear(g, layer, f"self_attn.{part}", x)
        head_dim = g.ints(self.config.head_dim)
        shape = _concat(g, _unsqueeze(g, batch, 0), _unsqueeze(g, sequence, 0), g.ints(-1), head_dim)
        return g.op("Transpose", g.op("Reshape", y, shape, allowzero=0), perm=[0, 2, 1, 3])

    def _repeat_kv(self, g: Graph, x: str) -> str:
        """Query head h reads KV head h // group: f32 [batch, heads, total, head_dim]."""
        group = self.config.heads // self.config.kv_heads
        if group == 1:
            return x
        batch, heads, length, width = (_dim(g, x, axis) for axis in range(4))
        wide = [_unsqueeze(g, dim, 0) for dim in (batch, heads, length, width)]
        wide.insert(2, g.ints(group))
        repeated = _expand(g, _unsqueeze(g, x, 2), _concat(g, *wide))
        all_heads = g.op("Mul", heads, g.scalar(group))
        shape = _concat(g, *(_unsqueeze(g, dim, 0) for dim in (batch, all_heads, length, width)))
        return g.op("Reshape", repeated, shape, allowzero=0)


def _tensor(value: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(value)


def _dim(g: Graph, x: str, axis: int) -> str:
    """One extent of `x`, int64 of rank 0."""
    return g.op("Gather", g.op("Shape", x), g.scalar(axis), axis=0)


def _floats(g: Graph, value: float) -> str:
    return g.constant(np.array([value], dtype=np.float32))


def _unsqueeze(g: Graph, x: str, *axes: int) -> str:
    """Inserts axes one by one, in the order given."""
    for axis in axes:
        x = g.op("Unsqueeze", x, g.ints(axis))
    return x


def _concat(g: Graph, *parts: str) -> str:
    return g.op("Concat", *parts, axis=0)


def _expand(g: Graph, x: str, shape: str) -> str:
    """Expand where -1 means "as it is": tracing writes it as a comparison with -1 and a Where."""
    shape = g.op("Reshape", shape, g.ints(-1), allowzero=0)
    ones = g.op("ConstantOfShape", g.op("Shape", shape), value=_tensor(np.array([1])))
    keep = g.op("Equal", shape, g.op("Mul", ones, g.scalar(-1)))
    return g.op("Expand", x, g.op("Where", keep, ones, shape))
