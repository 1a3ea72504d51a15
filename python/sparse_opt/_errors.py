"""One exception per status code of the C API."""


class SparseError(RuntimeError):
    """A call that failed. `code` is the name of the status."""

    code = "UNKNOWN"


class Cancelled(SparseError):
    code = "CANCELLED"


class InvalidArgument(SparseError, ValueError):
    code = "INVALID_ARGUMENT"


class NotFound(SparseError, LookupError):
    code = "NOT_FOUND"


class ResourceExhausted(SparseError, MemoryError):
    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(SparseError):
    code = "FAILED_PRECONDITION"


class OutOfRange(SparseError, ValueError):
    code = "OUT_OF_RANGE"


class Unimplemented(SparseError, NotImplementedError):
    code = "UNIMPLEMENTED"


class InternalError(SparseError):
    code = "INTERNAL"


class Unavailable(SparseError):
    code = "UNAVAILABLE"


class DataLoss(SparseError):
    code = "DATA_LOSS"


class Incompatible(SparseError):
    code = "INCOMPATIBLE"


BY_STATUS = {
    1: Cancelled,
    3: InvalidArgument,
    5: NotFound,
    8: ResourceExhausted,
    9: FailedPrecondition,
    11: OutOfRange,
    12: Unimplemented,
    13: InternalError,
    14: Unavailable,
    15: DataLoss,
    18: Incompatible,
}
