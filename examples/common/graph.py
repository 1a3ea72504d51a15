"""A thin writer of ONNX graphs: names every node by its scope and every value by its node."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dim = int | str


class Graph:
    """Collects nodes in order. Values are their names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.used_weights: dict[str, None] = {}
        self._scope: list[str] = []
        self._taken: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names nodes below `name` while open."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    def input(self, name: str, dtype: int, shape: Sequence[Dim]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: Sequence[Dim]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def weight(self, name: str) -> str:
        """Reads a weight; only weights that were read become initializers of the model."""
        self.used_weights[name] = None
        return name

    def op(self, op_type: str, *inputs: str, domain: str = "", output: str | None = None, **attributes) -> str:
        """Adds a node with one result and gives the result's name."""
        return self.ops(op_type, *inputs, domain=domain, outputs=[output], **attributes)[0]

    def ops(
        self, op_type: str, *inputs: str, outputs: Sequence[str | None], domain: str = "", **attributes
    ) -> list[str]:
        """Adds a node with `len(outputs)` results. None asks for a name, "" leaves a result out."""
        name = self._unique("/" + "/".join([*self._scope, op_type]))
        results = [f"{name}_output_{i}" if given is None else given for i, given in enumerate(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), results, name=name, domain=domain, **attributes))
        return results

    def constant(self, value: np.ndarray) -> str:
        """A Constant node; every use gets its own, as tracing exporters write it."""
        return self.op("Constant", value=numpy_helper.from_array(value))

    def ints(self, *values: int) -> str:
        """A Constant of int64 [n]."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: int | float) -> str:
        """A Constant of rank 0: int64 of an int, float32 of a float."""
        return self.constant(np.array(value, dtype=np.int64 if isinstance(value, int) else np.float32))

    def model(
        self, name: str, producer: str, ir_version: int, opsets: dict[str, int], weights: Iterable[TensorProto]
    ) -> onnx.ModelProto:
        """The model of this graph; `weights` are the initializers for `used_weights`."""
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, list(weights))
        model = helper.make_model(
            graph,
            producer_name=producer,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
        )
        model.ir_version = ir_version
        return model

    def _unique(self, name: str) -> str:
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return name if count == 0 else f"{name}_{count}"
