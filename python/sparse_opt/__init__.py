"""Run models that sparse-opt has compiled.

    import sparse_opt

    model = sparse_opt.load("model.spx")
    for piece in model.generate("Once upon a time", max_new_tokens=64):
        print(piece, end="", flush=True)

The package calls the runtime library through ctypes; it needs NumPy, and the
`tokenizers` package for text. Without a tokenizer everything works on ids.
"""

from ._errors import (
    Cancelled,
    DataLoss,
    FailedPrecondition,
    Incompatible,
    InternalError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    SparseError,
    Unavailable,
    Unimplemented,
)
from .model import Context, Model, Sampling, Sequence, Session, Usage, load

__all__ = [
    "Cancelled",
    "Context",
    "DataLoss",
    "FailedPrecondition",
    "Incompatible",
    "InternalError",
    "InvalidArgument",
    "Model",
    "NotFound",
    "OutOfRange",
    "ResourceExhausted",
    "Sampling",
    "Sequence",
    "Session",
    "SparseError",
    "Unavailable",
    "Unimplemented",
    "Usage",
    "load",
]

__version__ = "0.1.0"
