"""The weights of a Llama decoder as a dictionary of float32 arrays.

Names are those of the original checkpoints. A linear layer `y = x W` is stored as `W [in, out]`, the way ONNX MatMul
reads it; the embedding is `[vocab, hidden]`. A tied model has no `lm_head.weight`.
"""

from collections.abc import Iterator

import numpy as np

from .config import LlamaConfig

Weights = dict[str, np.ndarray]

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"


def layer_weight(layer: int, part: str) -> str:
    """Name of one weight of one layer; `part` is for example `self_attn.q_proj`."""
    return f"model.layers.{layer}.{part}.weight"


def weight_shapes(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every weight, in the order in which a forward pass reads them."""
    c = config
    yield EMBEDDING, (c.vocab, c.hidden)
    for layer in range(c.layers):
        yield layer_weight(layer, "input_layernorm"), (c.hidden,)
        yield layer_weight(layer, "self_attn.q_proj"), (c.hidden, c.q_width)
        yield layer_weight(layer, "self_attn.k_proj"), (c.hidden, c.kv_width)
        yield layer_weight(layer, "self_attn.v_proj"), (c.hidden, c.kv_width)
        yield layer_weight(layer, "self_attn.o_proj"), (c.q_width, c.hidden)
        yield layer_weight(layer, "post_attention_layernorm"), (c.hidden,)
        yield layer_weight(layer, "mlp.gate_proj"), (c.hidden, c.ffn)
        yield layer_weight(layer, "mlp.up_proj"), (c.hidden, c.ffn)
        yield layer_weight(layer, "mlp.down_proj"), (c.ffn, c.hidden)
    yield FINAL_NORM, (c.hidden,)
    if not c.tied:
        yield HEAD, (c.hidden, c.vocab)


def random_weights(config: LlamaConfig, seed: int) -> Weights:
    """Seeded weights that keep activations near unit variance.

    Queries and keys get a gain above one, so that attention is far from uniform: a test that attends to the wrong keys
    must see it in the logits.
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in weight_shapes(config):
        values = rng.standard_normal(shape)
        if len(shape) == 1:
            values = 1.0 + 0.1 * values
        elif name != EMBEDDING:
            gain = 1.6 if "q_proj" in name or "k_proj" in name else 1.0
            values *= gain / np.sqrt(shape[0])
        weights[name] = values.astype(np.float32)
    return weights


def check_weights(config: LlamaConfig, weights: Weights) -> None:
    """Raises ValueError unless `weights` are exactly those of `config`."""
    expected = dict(weight_shapes(config))
    if missing := sorted(expected.keys() - weights.keys()):
        raise ValueError(f"missing weights: {', '.join(missing)}")
    if extra := sorted(weights.keys() - expected.keys()):
        raise ValueError(f"unknown weights: {', '.join(extra)}")
    for name, shape in expected.items():
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            raise ValueError(f"{name}: float32 {shape} expected, got {weights[name].dtype} {weights[name].shape}")
