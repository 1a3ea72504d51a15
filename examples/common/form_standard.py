"""The decoder in the ONNX standard's own LLM operators, opset 24.

RMSNormalization-23, RotaryEmbedding-23 over tables, Attention-24 with past and present, Swish-24. No mask: causal
order is an attribute of Attention, whose offset is the length of the past.
"""

from .form import BATCH, I64, SEQUENCE, Form, past, present
from .graph import Graph
from .rope import rope_tables
from .weights import Weights

COS, SIN = "cos_cache", "sin_cache"


class StandardForm(Form):
    name = "standard"
    ir_version = 11
    opsets = {"": 24}

    def extra_weights(self, weights: Weights) -> Weights:
        return dict(zip((COS, SIN), rope_tables(self.config), strict=True))

    def declare_inputs(self, g: Graph) -> None:
        g.input("input_ids", I64, [BATCH, SEQUENCE])
        g.input("position_ids", I64, [BATCH, SEQUENCE])

    def norm(self, g: Graph, x: str, weight: str) -> str:
        return g.op(
            "RMSNormalization", x, g.weight(weight), axis=-1, epsilon=self.config.norm_epsilon, stash_type=1
        )

    def attention(self, g: Graph, layer: int, x: str) -> str:
        c = self.config
        q = self._rotate(g, self.linear(g, layer, "self_attn.q_proj", x), c.heads)
        k = self._rotate(g, self.linear(g, layer, "self_attn.k_proj", x), c.kv_heads)
        v = self.linear(g, layer, "self_attn.v_proj", x)
        y, _, _ = g.ops(
            "Attention", q, k, v, "", past(layer, "key"), past(layer, "value"),
            outputs=[None, present(layer, "key"), present(layer, "value")],
            q_num_heads=c.heads, kv_num_heads=c.kv_heads, is_causal=1, scale=c.head_dim**-0.5,
        )  # fmt: skip
        return self.linear(g, layer, "self_attn.o_proj", y)

    def silu(self, g: Graph, x: str) -> str:
        return g.op("Swish", x, alpha=1.0)

    def _rotate(self, g: Graph, x: str, heads: int) -> str:
        return g.op("RotaryEmbedding", x, g.weight(COS), g.weight(SIN), "position_ids", num_heads=heads, interleaved=0)
