"""The decoder in the form that ONNX Runtime GenAI's model builder writes, opset 22 with com.microsoft operators.

GroupQueryAttention takes packed Q, K and V and rotates them itself; SkipSimplifiedLayerNormalization adds the residual.
Lengths come from the padding mask. The head has its own transposed copy of a tied embedding.
"""

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto

from .config import LlamaConfig
from .form import BATCH, F32, I64, SEQUENCE, Form, past, present
from .graph import Graph
from .rope import rope_tables
from .weights import EMBEDDING, HEAD, Weights, layer_weight

I32 = TensorProto.INT32
MICROSOFT = "com.microsoft"
COS, SIN = "cos_cache", "sin_cache"


class GenaiForm(Form):
    """With `last_only` the head reads the last position alone, as the builder's `prune_lm_head` does."""

    name = "genai"
    ir_version = 10
    opsets = {"": 22, MICROSOFT: 1}

    def __init__(self, config: LlamaConfig, last_only: bool = False) -> None:
        super().__init__(config)
        self._last_only = last_only

    def extra_weights(self, weights: Weights) -> Weights:
        extra = dict(zip((COS, SIN), rope_tables(self.config), strict=True))
        for layer in range(self.config.layers):
            parts = [weights[layer_weight(layer, f"self_attn.{part}_proj")] for part in "qkv"]
            extra[_packed(layer)] = np.concatenate(parts, axis=1)
        if self.config.tied:
            extra[HEAD] = np.ascontiguousarray(weights[EMBEDDING].T)
        return extra

    def declare_inputs(self, g: Graph) -> None:
        g.input("input_ids", I64, [BATCH, SEQUENCE])
        g.input("attention_mask", I64, [BATCH, "total_sequence_length"])

    def prepare(self, g: Graph, embedded: str) -> None:
        with g.scope("attn_mask_reformat"):
            last = g.op("Sub", g.op("ReduceSum", "attention_mask", g.ints(1), keepdims=0), g.ints(1))
            self._last_index = g.op("Cast", last, to=I32)
            total = g.op("Gather", g.op("Shape", "attention_mask"), g.scalar(1), axis=0)
            self._total_length = g.op("Cast", total, to=I32)

    def norm(self, g: Graph, x: str, weight: str) -> str:
        epsilon = self.config.norm_epsilon
        return g.op("SimplifiedLayerNormalization", x, g.weight(weight), axis=-1, epsilon=epsilon, stash_type=1)

    def add_norm(
        self, g: Graph, residual: str, x: str, weight: str, add_scope: str, norm_scope: str
    ) -> tuple[str, str]:
        with g.scope(norm_scope):
            normed, _, _, total = g.ops(
                "SkipSimplifiedLayerNormalization", residual, x, g.weight(weight),
                outputs=[None, "", "", None], domain=MICROSOFT, epsilon=self.config.norm_epsilon,
            )  # fmt: skip
        return total, normed

    def attention(self, g: Graph, layer: int, x: str) -> str:
        c = self.config
        with g.scope("qkv_proj"):
            packed = g.op("MatMul", x, g.weight(_packed(layer)))
        y, _, _ = g.ops(
            "GroupQueryAttention", packed, "", "", past(layer, "key"), past(layer, "value"),
            self._last_index, self._total_length, g.weight(COS), g.weight(SIN),
            outputs=[None, present(layer, "key"), present(layer, "value")], domain=MICROSOFT,
            num_heads=c.heads, kv_num_heads=c.kv_heads, scale=c.head_dim**-0.5, local_window_size=-1, softcap=0.0,
            do_rotary=1, rotary_interleaved=0,
        )  # fmt: skip
        return self.linear(g, layer, "self_attn.o_proj", y)

    def head(self, g: Graph, x: str) -> None:
        with g.scope("lm_head"):
            rows = SEQUENCE
            if self._last_only:
                x, rows = g.op("Unsqueeze", g.op("Gather", x, g.scalar(-1), axis=1), g.ints(1)), 1
            g.op("MatMul", x, g.weight(HEAD), output="logits")
        g.output("logits", F32, [BATCH, rows, self.config.vocab])


def _packed(layer: int) -> str:
    return layer_weight(layer, "self_attn.qkv_proj")


def write_genai_config(config: LlamaConfig, directory: Path, model: str, context: int, bos: int, eos: int) -> Path:
    """Writes genai_config.json for the model file `model` beside it."""
    names = {part: f"past_key_values.%d.{part}" for part in ("key", "value")}
    content = {
        "model": {
            "type": "llama",
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": eos,
            "context_length": context,
            "vocab_size": config.vocab,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": model,
                "head_size": config.head_dim,
                "hidden_size": config.hidden,
                "num_attention_heads": config.heads,
                "num_hidden_layers": config.layers,
                "num_key_value_heads": config.kv_heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": names["key"],
                    "past_value_names": names["value"],
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": names["key"].replace("past_key_values", "present"),
                    "present_value_names": names["value"].replace("past_key_values", "present"),
                },
            },
        },
        "search": {"do_sample": False, "max_length": context, "past_present_share_buffer": True},
    }
    path = directory / "genai_config.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
