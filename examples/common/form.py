"""What differs between the ONNX forms of one Llama decoder."""

from typing import ClassVar

from onnx import TensorProto

from .config import LlamaConfig
from .graph import Dim, Graph
from .weights import EMBEDDING, HEAD, Weights, layer_weight

F32, I64 = TensorProto.FLOAT, TensorProto.INT64
BATCH, SEQUENCE, PAST = "batch_size", "sequence_length", "past_sequence_length"
TOTAL = f"{PAST} + {SEQUENCE}"


class Form:
    """One way to write the decoder. `llama_onnx.build_llama` calls the methods in the order of the network.

    Activations are f32 [batch, sequence, width]; caches are f32 [batch, kv_heads, length, head_dim].
    """

    name: ClassVar[str]
    producer: ClassVar[str] = "sparse-opt examples"
    ir_version: ClassVar[int]
    opsets: ClassVar[dict[str, int]]

    def __init__(self, config: LlamaConfig) -> None:
        self.config = config

    def extra_weights(self, weights: Weights) -> Weights:
        """Initializers that this form reads beside, or instead of, the model's own weights."""
        return {}

    def declare_inputs(self, g: Graph) -> None:
        """Declares ids, masks and positions; the cache inputs follow."""
        raise NotImplementedError

    def prepare(self, g: Graph, embedded: str) -> None:
        """Nodes that all layers share: masks, rotary tables."""

    def norm(self, g: Graph, x: str, weight: str) -> str:
        raise NotImplementedError

    def add_norm(
        self, g: Graph, residual: str, x: str, weight: str, add_scope: str, norm_scope: str
    ) -> tuple[str, str]:
        """`residual + x`, and its norm."""
        with g.scope(add_scope):
            total = g.op("Add", residual, x)
        with g.scope(norm_scope):
            return total, self.norm(g, total, weight)

    def attention(self, g: Graph, layer: int, x: str) -> str:
        """From the normed input to the output projection, cache included."""
        raise NotImplementedError

    def silu(self, g: Graph, x: str) -> str:
        return g.op("Mul", x, g.op("Sigmoid", x))

    def head(self, g: Graph, x: str) -> None:
        """Writes `logits`. A tied head reads the embedding through a Transpose, so that it is stored once."""
        with g.scope("lm_head"):
            if self.config.tied:
                weight = g.op("Transpose", g.weight(EMBEDDING), perm=[1, 0])
            else:
                weight = g.weight(HEAD)
            g.op("MatMul", x, weight, output="logits")
        g.output("logits", F32, [BATCH, SEQUENCE, self.config.vocab])

    def linear(self, g: Graph, layer: int, part: str, x: str) -> str:
        with g.scope(part.split(".")[-1]):
            return g.op("MatMul", x, g.weight(layer_weight(layer, part)))

    def cache_shape(self, length: Dim) -> list[Dim]:
        return [BATCH, self.config.kv_heads, length, self.config.head_dim]


def past(layer: int, part: str) -> str:
    return f"past_key_values.{layer}.{part}"


def present(layer: int, part: str) -> str:
    return f"present.{layer}.{part}"
