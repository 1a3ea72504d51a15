"""How many bytes of weights a decoded token reads."""

import json
import struct
from pathlib import Path


def bytes_of_a_token(path: Path) -> int:
    """All tensors of a weights file but the tables of positions, of which a token reads one row."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    tensors = [tensor for tensor in header.values() if not _is_table(tensor["shape"])]
    return sum(end - begin for begin, end in (tensor["data_offsets"] for tensor in tensors))


def _is_table(shape: list[int]) -> bool:
    """Matrices are packed in panels, three extents; a table of positions has two."""
    return len(shape) == 2
