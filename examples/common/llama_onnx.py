"""The Llama decoder as an ONNX graph: the same network for every form."""

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from .external import external_tensors, inline_tensors, write_external
from .form import F32, PAST, TOTAL, Form, past, present
from .graph import Graph
from .weights import EMBEDDING, FINAL_NORM, Weights, check_weights, layer_weight


def build_llama(form: Form) -> Graph:
    """Writes the whole decoder in one form."""
    c = form.config
    g = Graph()
    form.declare_inputs(g)
    for layer in range(c.layers):
        for part in ("key", "value"):
            g.input(past(layer, part), F32, form.cache_shape(PAST))

    with g.scope("model"):
        with g.scope("embed_tokens"):
            residual = g.op("Gather", g.weight(EMBEDDING), "input_ids", axis=0)
        form.prepare(g, residual)
        with g.scope("layers.0/input_layernorm"):
            normed = form.norm(g, residual, layer_weight(0, "input_layernorm"))
        for layer in range(c.layers):
            here = f"layers.{layer}"
            with g.scope(f"{here}/self_attn"):
                attended = form.attention(g, layer, normed)
            weight = layer_weight(layer, "post_attention_layernorm")
            residual, normed = form.add_norm(g, residual, attended, weight, here, f"{here}/post_attention_layernorm")
            with g.scope(f"{here}/mlp"):
                output = _mlp(form, g, layer, normed)
            if layer + 1 < c.layers:
                weight, scope = layer_weight(layer + 1, "input_layernorm"), f"layers.{layer + 1}/input_layernorm"
            else:
                weight, scope = FINAL_NORM, "norm"
            residual, normed = form.add_norm(g, residual, output, weight, here, scope)
    form.head(g, normed)
    for layer in range(c.layers):
        for part in ("key", "value"):
            g.output(present(layer, part), F32, form.cache_shape(TOTAL))
    return g


def _mlp(form: Form, g: Graph, layer: int, x: str) -> str:
    """SwiGLU: `down(silu(gate(x)) * up(x))`."""
    gate = form.linear(g, layer, "mlp.gate_proj", x)
    with g.scope("act_fn"):
        gate = form.silu(g, gate)
    up = form.linear(g, layer, "mlp.up_proj", x)
    return form.linear(g, layer, "mlp.down_proj", g.op("Mul", gate, up))


def write_llama(
    forms: Mapping[str, Form],
    weights: Weights,
    directory: Path,
    data_name: str | None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Writes one model for each file name in `forms`; all read the same weights.

    With `data_name` the weights lie once in that file beside the models, else every model holds its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    graphs = {}
    for file_name, form in forms.items():
        check_weights(form.config, weights)
        graphs[file_name] = build_llama(form)

    pool = dict(weights)
    for form in forms.values():
        pool |= form.extra_weights(weights)
    used = {name for g in graphs.values() for name in g.used_weights}
    pool = {name: array for name, array in pool.items() if name in used}

    written = []
    if data_name is None:
        tensors = inline_tensors(pool)
    else:
        progress(f"writing {data_name}")
        tensors = external_tensors(pool, data_name)
        write_external(pool, directory / data_name)
        written.append(directory / data_name)
    for file_name, form in forms.items():
        progress(f"writing {file_name}")
        initializers = [tensors[name] for name in pool if name in graphs[file_name].used_weights]
        model = graphs[file_name].model("main_graph", form.producer, form.ir_version, form.opsets, initializers)
        onnx.save_model(model, directory / file_name)
        written.append(directory / file_name)
    return written
