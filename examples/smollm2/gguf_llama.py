"""Reads a Llama decoder from a GGUF file: its shape, its weights as float32, its vocabulary."""

import dataclasses
from pathlib import Path

import numpy as np
from common.config import LlamaConfig
from common.weights import EMBEDDING, FINAL_NORM, HEAD, Weights, layer_weight
from gguf import GGUFReader
from gguf.quants import dequantize

PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokenizer as GGUF stores it; `types` are those of llama.cpp: 1 normal, 3 control, 4 user defined."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    bos: int
    eos: int
    chat_template: str


class GgufLlama:
    """A GGUF file of architecture `llama`."""

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        architecture = self._get("general.architecture")
        if architecture != "llama":
            raise ValueError(f"{path}: architecture llama expected, got {architecture}")

    @property
    def context_length(self) -> int:
        """Positions the model was trained for."""
        return self._get("llama.context_length")

    def config(self, max_positions: int) -> LlamaConfig:
        heads = self._get("llama.attention.head_count")
        hidden = self._get("llama.embedding_length")
        rotary = self._get("llama.rope.dimension_count")
        if rotary * heads != hidden:
            raise ValueError(f"rotary dimension {rotary} is not the head dimension {hidden // heads}")
        return LlamaConfig(
            layers=self._get("llama.block_count"),
            hidden=hidden,
            heads=heads,
            kv_heads=self._get("llama.attention.head_count_kv"),
            head_dim=rotary,
            ffn=self._get("llama.feed_forward_length"),
            vocab=len(self._get("tokenizer.ggml.tokens")),
            max_positions=max_positions,
            rope_theta=self._get("llama.rope.freq_base"),
            norm_epsilon=self._get("llama.attention.layer_norm_rms_epsilon"),
            tied="output.weight" not in self._tensors,
        )

    def weights(self, config: LlamaConfig) -> Weights:
        """Dequantized; linear weights turned to [in, out], rows of q and k in the order that half-split RoPE needs."""
        result = {EMBEDDING: self._matrix("token_embd"), FINAL_NORM: self._matrix("output_norm")}
        for layer in range(config.layers):
            for part, name in PARTS.items():
                matrix = self._matrix(f"blk.{layer}.{part}")
                if part in ("attn_q", "attn_k"):
                    matrix = _undo_permutation(matrix, config.heads if part == "attn_q" else config.kv_heads)
                result[layer_weight(layer, name)] = _input_major(matrix)
        if not config.tied:
            result[HEAD] = _input_major(self._matrix("output"))
        return result

    def vocabulary(self) -> Vocabulary:
        fields = {
            "model": "model", "pre": "pre", "tokens": "tokens", "types": "token_type", "merges": "merges",
            "bos": "bos_token_id", "eos": "eos_token_id",
        }  # fmt: skip
        values = {name: self._get(f"tokenizer.ggml.{key}") for name, key in fields.items()}
        return Vocabulary(**values, chat_template=self._get("tokenizer.chat_template"))

    def _get(self, key: str):
        field = self._reader.fields.get(key)
        if field is None:
            raise ValueError(f"the GGUF file has no {key}")
        return field.contents()

    def _matrix(self, name: str) -> np.ndarray:
        """f32 [out, in], or [n] of a vector."""
        tensor = self._tensors[f"{name}.weight"]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)


def _input_major(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix.T) if matrix.ndim == 2 else matrix


def _undo_permutation(matrix: np.ndarray, heads: int) -> np.ndarray:
    """GGUF keeps a head's rows as pairs (i, i + d/2) side by side: [heads, d/2, 2] back to [heads, 2, d/2]."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
