"""A shape of the sampling entry, and its IR after phase `stateful`."""

STOPS = 8
SHAPES = ((1, 5), (2, 317), (8, 320), (4, 1028), (1, 4100), (2, 49152), (8, 128256), (1, 262144))


def entry_name(rows, vocab):
    return f"sample_b{rows}_v{vocab}"


def _entry(rows, vocab):
    numbers, reals, longs = (f"tensor<{rows}x{element}>" for element in ("i32", "f32", "i64"))
    logits, stops = f"tensor<{rows}x{vocab}xf32>", f"tensor<{rows}x{STOPS}xi32>"
    inputs = (
        ("logits", logits), ("ids", numbers), ("positions", numbers), ("active", numbers), ("temperature", reals),
        ("top_k", numbers), ("top_p", reals), ("seeds", longs), ("counters", longs), ("stops", stops),
    )  # fmt: skip
    arguments = ", ".join(f'%{name}: {kind} {{plan.name = "{name}"}}' for name, kind in inputs)
    results = f"{numbers}, {numbers}, {numbers}, {numbers}, {longs}"
    return f"""
  func.func @{entry_name(rows, vocab)}({arguments})
      -> ({numbers} {{plan.name = "tokens"}}, {numbers}, {numbers}, {numbers}, {longs})
      attributes {{plan.kind = "sample", plan.rows = {rows} : i64}} {{
    %r:5 = sparsity.sample {", ".join(f"%{name}" for name, _ in inputs)}
      : ({", ".join(kind for _, kind in inputs)}) -> ({results})
    return %r#0, %r#1, %r#2, %r#3, %r#4 : {results}
  }}
"""


def module_text(target):
    """The module after phase `stateful`, one entry for each shape."""
    return f"module attributes {{sparsity.target = {target}}} {{\n{''.join(_entry(*s) for s in SHAPES)}}}\n"
