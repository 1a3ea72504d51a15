"""Initializers, inline or in a data file beside the model."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ALIGNMENT = 4096  # what the ONNX format recommends for memory-mapped data


def inline_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, TensorProto]:
    """Tensors that hold their bytes themselves."""
    return {name: numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tensors.items()}


def external_tensors(tensors: Mapping[str, np.ndarray], location: str) -> dict[str, TensorProto]:
    """Tensors that name their bytes in the file that `write_external` writes for the same `tensors`."""
    result = {}
    for name, offset, array in _placed(tensors):
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", location), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        result[name] = tensor
    return result


def write_external(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes every tensor's bytes, little-endian, at its offset."""
    with path.open("wb") as file:
        for _, offset, array in _placed(tensors):
            file.write(b"\0" * (offset - file.tell()))
            file.write(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).data)


def _placed(tensors: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int, np.ndarray]]:
    offset = 0
    for name, array in tensors.items():
        yield name, offset, array
        offset = -(-(offset + array.nbytes) // ALIGNMENT) * ALIGNMENT
