"""The kernels whose times gpu_decode_step and gpu_prefill report: linear layers, and cases of attention."""

import dataclasses
from collections.abc import Sequence

CHUNK = 2048  # prompt tokens of one step
PREFILL = "prefill_32k"
FULL = "full_"  # before the name of the finished step of the same shape


@dataclasses.dataclass(frozen=True)
class Linear:
    """One row times a matrix of bf16."""

    inputs: int
    outputs: int

    @property
    def name(self) -> str:
        return f"linear_{self.inputs}x{self.outputs}"

    @property
    def bytes(self) -> int:
        return self.inputs * self.outputs * 2

    def entry(self) -> str:
        """Its entry after phase `stateful`; its weight has no bytes."""
        x, y = f"tensor<1x{self.inputs}xf32>", f"tensor<1x{self.outputs}xf32>"
        weight = f"tensor<{self.inputs}x{self.outputs}xf32>"
        return (
            f'  onnx.initializer @{self.name}_weight : {weight} file "absent.data" offset 0 '
            f'length {2 * self.bytes} {{onnx.name = "{self.name}_weight"}}\n'
            f'  func.func @{self.name}(%x: {x} {{plan.name = "x"}}) -> ({y} {{plan.name = "y"}})\n'
            f'      attributes {{plan.kind = "decode", plan.rows = 1 : i64}} {{\n'
            f"    %weight = onnx.weight @{self.name}_weight : {weight}\n"
            f"    %y = onnx.MatMul %x, %weight {{sparsity.site = #sparsity.site<layer = 0, part = o>}} : "
            f"({x}, {weight}) -> {y}\n"
            f"    return %y : {y}\n  }}\n"
        )


LINEARS = (Linear(4096, 14336), Linear(4096, 4096), Linear(4096, 6144))


def with_full_steps(finished: Sequence) -> list:
    """The finished steps that select over pages of numbers, and each of them from the projections."""
    steps = [case for case in finished if case.selection and not case.storage]
    return steps + [dataclasses.replace(case, name=FULL + case.name, full=True) for case in steps]


def prefill_case(template):
    """A chunk of a prompt of 32K tokens, over a dense layer like that of `template`."""
    return dataclasses.replace(template, name=PREFILL, rows=CHUNK, selection=None, prefill=True)


def causal_operations(heads: int, key_dim: int, value_dim: int, depth: int, rows: int) -> int:
    """Operations of causal attention of `rows` tokens after `depth` others: each sees those before it and itself."""
    pairs = rows * depth + rows * (rows + 1) // 2
    return 2 * heads * (key_dim + value_dim) * pairs
