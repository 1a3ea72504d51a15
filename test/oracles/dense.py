"""The dense Llama forward pass, one sequence, from a dictionary of weights.

Arrays are [rows, width] or [rows, heads, head_dim]; `dtype` is float64 or float32. Linear weights are [in, out].
"""

from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray
Visible = Callable[[Array, Array], Array]


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """`x / sqrt(mean(x²) + ε) · w` over the last axis (arXiv 1910.07467)."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(epsilon)) * weight


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def rope_angles(positions: Array, head_dim: int, theta: float) -> Array:
    """f32 [rows, head_dim / 2]: frequencies, and their product with the position, rounded to f32 as graphs do it."""
    frequencies = (float(theta) ** (-np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)
    return positions.astype(np.float32)[:, None] * frequencies


def rope_half(x: Array, positions: Array, theta: float) -> Array:
    """Rotates the pairs (i, i + d/2) of x [rows, heads, d] by its row's position (arXiv 2104.09864)."""
    angles = rope_angles(positions, x.shape[-1], theta).astype(x.dtype)[:, None, :]
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def softmax(scores: Array) -> Array:
    """Over the last axis; −inf is weight 0; a row needs one finite score."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def attention_weights(q: Array, keys: Array, visible: Array) -> Array:
    """Softmax of `q·k/√d` for one KV head: q [rows, group, d], keys [n, d], visible bool [rows, n] or
    [rows, group, n] → [rows, group, n]."""
    scores = np.einsum("rgd,nd->rgn", q, keys) / np.sqrt(q.dtype.type(q.shape[-1]))
    if visible.ndim == 2:
        visible = visible[:, None, :]
    return softmax(np.where(visible, scores, -np.inf))


def causal(query: Array, key: Array) -> Array:
    """Bool, broadcast: the key is not after the query."""
    return key <= query


def gqa_attention(q: Array, k: Array, v: Array, visible: Array) -> Array:
    """q [rows, H, d], k and v [n, Hk, d], visible bool [rows, n] → [rows, H, d]; head h reads KV head h // (H/Hk)."""
    rows, heads, d = q.shape
    grouped = q.reshape(rows, k.shape[1], -1, d)
    outputs = []
    for h in range(k.shape[1]):
        weights = attention_weights(grouped[:, h], k[:, h], visible)
        outputs.append(np.einsum("rgn,nd->rgd", weights, v[:, h]))
    return np.stack(outputs, axis=1).reshape(rows, heads, d)


class Network:
    """Everything of a Llama but its attention. `config` gives layers, heads, kv_heads, head_dim, rope_theta,
    norm_epsilon; weights carry their checkpoint names."""

    def __init__(self, config, weights: Mapping[str, Array], dtype: type = np.float64) -> None:
        self.config = config
        self.dtype = dtype
        self._weights = {name: array.astype(dtype) for name, array in weights.items()}

    def embed(self, ids: Array) -> Array:
        return self._weights["model.embed_tokens.weight"][ids]

    def project(self, layer: int, x: Array, positions: Array) -> tuple[Array, Array, Array]:
        """From the residual stream to q [rows, H, d], k and v [rows, Hk, d]; q and k rotated."""
        c = self.config
        normed = rms_norm(x, self._layer(layer, "input_layernorm"), c.norm_epsilon)
        q, k, v = (
            (normed @ self._layer(layer, f"self_attn.{part}")).reshape(len(x), heads, c.head_dim)
            for part, heads in (("q_proj", c.heads), ("k_proj", c.kv_heads), ("v_proj", c.kv_heads))
        )
        return rope_half(q, positions, c.rope_theta), rope_half(k, positions, c.rope_theta), v

    def finish(self, layer: int, x: Array, attended: Array) -> Array:
        """Output projection, residual, SwiGLU, residual."""
        x = x + attended.reshape(len(x), -1) @ self._layer(layer, "self_attn.o_proj")
        normed = rms_norm(x, self._layer(layer, "post_attention_layernorm"), self.config.norm_epsilon)
        gate = silu(normed @ self._layer(layer, "mlp.gate_proj"))
        return x + (gate * (normed @ self._layer(layer, "mlp.up_proj"))) @ self._layer(layer, "mlp.down_proj")

    def logits(self, x: Array) -> Array:
        """[rows, hidden] → [rows, vocab]; a tied head is the transposed embedding."""
        normed = rms_norm(x, self._weights["model.norm.weight"], self.config.norm_epsilon)
        head = self._weights.get("lm_head.weight")
        return normed @ (self._weights["model.embed_tokens.weight"].T if head is None else head)

    def _layer(self, layer: int, part: str) -> Array:
        return self._weights[f"model.layers.{layer}.{part}.weight"]


def forward(network: Network, ids: Array, visible: Visible = causal) -> Array:
    """Logits [n, vocab] of a whole row without any cache; `visible(query, key)` on positions, broadcast."""
    positions = np.arange(len(ids))
    mask = visible(positions[:, None], positions[None, :]) & causal(positions[:, None], positions[None, :])
    x = network.embed(ids)
    for layer in range(network.config.layers):
        q, k, v = network.project(layer, x, positions)
        x = network.finish(layer, x, gqa_attention(q, k, v, mask))
    return network.logits(x)
