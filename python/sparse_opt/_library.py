"""The C API (include/sparse-opt/runtime.h) as ctypes.

ctypes releases the interpreter lock during every call, so that other threads
of a program run while a step computes.
"""

import ctypes
import os
import pathlib
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

from ._errors import BY_STATUS, Incompatible, SparseError

API_VERSION = 4

LogFn = CFUNCTYPE(None, c_void_p, c_int32, c_char_p)


class Sized(Structure):
    """A struct that starts with its own size."""

    def __init__(self, **values):
        super().__init__(struct_size=ctypes.sizeof(type(self)), **values)


class LoadOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("skip_verify", c_int32),
        ("target", c_char_p),
        ("log", LogFn),
        ("log_user", c_void_p),
        ("map_weights", c_int32),
        ("device", c_char_p),
        ("weights", c_char_p),
    ]


class ModelInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("layers", c_uint64),
        ("hidden", c_uint64),
        ("vocab", c_uint64),
        ("heads", c_uint64),
        ("kv_heads", c_uint64),
        ("head_dim", c_uint64),
        ("max_context", c_uint64),
        ("prefill_chunk", c_uint64),
        ("max_bucket", c_uint64),
        ("weights_dtype", c_char_p),
        ("kv_dtype", c_char_p),
        ("policy", c_char_p),
        ("target", c_char_p),
        ("created_by", c_char_p),
        ("source", c_char_p),
        ("weights_bytes", c_uint64),
        ("device", c_char_p),
    ]


class ContextOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("max_sequences", c_uint32),
        ("threads", c_uint32),
        ("kv_limit_bytes", c_uint64),
        ("check", c_int32),
        ("memory", c_void_p),
        ("parallel", c_void_p),
        ("log", LogFn),
        ("log_user", c_void_p),
        ("prefix_cache_bytes", c_uint64),
        ("prefix_salt", c_char_p),
        ("prefix_salt_bytes", c_size_t),
    ]


class DecodeRow(Structure):
    _fields_ = [("sequence", c_uint64), ("token", c_int32)]


class SamplingOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("temperature", c_float),
        ("seed", c_uint64),
        ("top_k", c_int32),
        ("top_p", c_float),
    ]


MOST_STOPS = 8


class GenerateRow(Structure):
    _fields_ = [
        ("sequence", c_uint64),
        ("sampling", POINTER(SamplingOptions)),
        ("index", c_uint64),
        ("stops", POINTER(c_int32)),
        ("stop_count", c_size_t),
        ("token", c_int32),
    ]


class UsageStruct(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("tokens", c_uint64),
        ("pages", c_uint64),
        ("dense_pages", c_uint64),
        ("kv_bytes", c_uint64),
        ("page_bytes", c_uint64),
        ("dense_bytes", c_uint64),
        ("peak_page_bytes", c_uint64),
        ("prefix_tokens", c_uint64),
        ("prefix_lookups", c_uint64),
        ("prefix_hits", c_uint64),
        ("prefix_pages", c_uint64),
        ("prefix_bytes", c_uint64),
    ]


class Counter(Structure):
    _fields_ = [("name", c_char_p), ("value", c_int64)]


_floats = POINTER(c_float)
_ids = POINTER(c_int32)


def _call(*arguments):
    return CFUNCTYPE(c_int32, *arguments)


class Api(Structure):
    """struct sparse_api, in its order."""

    _fields_ = [
        ("version", c_uint32),
        ("status_name", CFUNCTYPE(c_char_p, c_int32)),
        ("last_error", _call(c_char_p, POINTER(c_size_t))),
        ("model_load", _call(c_char_p, POINTER(LoadOptions), POINTER(c_void_p))),
        ("model_destroy", CFUNCTYPE(None, c_void_p)),
        ("model_info", _call(c_void_p, POINTER(ModelInfo))),
        ("model_tokenizer", _call(c_void_p, POINTER(c_char_p), POINTER(c_size_t))),
        (
            "context_create",
            _call(c_void_p, POINTER(ContextOptions), POINTER(c_void_p)),
        ),
        ("context_destroy", CFUNCTYPE(None, c_void_p)),
        ("cancel", _call(c_void_p)),
        ("context_threads", _call(c_void_p, POINTER(c_uint32))),
        ("context_usage", _call(c_void_p, POINTER(UsageStruct))),
        ("sequence_create", _call(c_void_p, POINTER(c_uint64))),
        ("sequence_destroy", _call(c_void_p, c_uint64)),
        ("sequence_fork", _call(c_void_p, c_uint64, POINTER(c_uint64))),
        ("sequence_trim", _call(c_void_p, c_uint64, c_uint64)),
        ("sequence_clear", _call(c_void_p, c_uint64)),
        ("sequence_length", _call(c_void_p, c_uint64, POINTER(c_uint64))),
        ("sequence_reserve", _call(c_void_p, c_uint64, c_uint64, c_int32)),
        ("sequence_fill_random", _call(c_void_p, c_uint64, c_uint64, c_uint64)),
        ("sequence_usage", _call(c_void_p, c_uint64, POINTER(UsageStruct))),
        (
            "sequence_counters",
            _call(c_void_p, c_uint64, c_uint64, POINTER(Counter), POINTER(c_size_t)),
        ),
        ("prefill", _call(c_void_p, c_uint64, _ids, c_size_t, _floats, _floats)),
        ("decode", _call(c_void_p, POINTER(DecodeRow), c_size_t, _floats)),
        ("logits", _call(c_void_p, _floats, c_size_t, _floats)),
        (
            "sample",
            _call(_floats, c_size_t, POINTER(SamplingOptions), c_uint64, _ids),
        ),
        (
            "decode_known",
            _call(c_void_p, POINTER(c_uint64), c_size_t, _ids, c_size_t, _floats),
        ),
        ("generate_begin", _call(c_void_p, POINTER(GenerateRow), c_size_t)),
        ("generate_step", _call(c_void_p)),
        ("generate_read", _call(c_void_p, _ids)),
        ("generate_end", _call(c_void_p)),
        ("sequence_save", _call(c_void_p, c_uint64, c_char_p, c_char_p, c_size_t)),
        ("sequence_restore", _call(c_void_p, c_void_p, POINTER(c_uint64))),
        ("session_open", _call(c_char_p, POINTER(c_void_p))),
        ("session_close", CFUNCTYPE(None, c_void_p)),
        ("session_header", _call(c_void_p, POINTER(c_char_p), POINTER(c_size_t))),
        ("session_tokens", _call(c_void_p, POINTER(_ids), POINTER(c_size_t))),
        ("session_note", _call(c_void_p, POINTER(c_void_p), POINTER(c_size_t))),
        ("sequence_salt", _call(c_void_p, c_uint64, c_char_p, c_size_t)),
        ("sequence_keep", _call(c_void_p, c_uint64)),
    ]


def _candidates():
    override = os.environ.get("SPARSE_RUNTIME_LIBRARY")
    if override:
        yield override
        return
    here = pathlib.Path(__file__).resolve().parent
    yield str(here / "libsparse_runtime.so")
    # In a source tree: the usual build folders beside python/.
    root = here.parent.parent
    for build in sorted([*root.glob("build*"), *root.glob("build/*")]):
        for sub in ("lib", "runtime"):
            yield str(build / sub / "libsparse_runtime.so")
    yield "libsparse_runtime.so"


def _open():
    tried = []
    for path in _candidates():
        if os.sep in path and not os.path.exists(path):
            tried.append(path)
            continue
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path} ({error})")
    raise ImportError(
        "libsparse_runtime.so was not found; build it or set "
        "SPARSE_RUNTIME_LIBRARY to its path. Tried: " + ", ".join(tried)
    )


_api = None


def api():
    """The function table; the library is opened at the first call."""
    global _api
    if _api is None:
        library = _open()
        library.sparse_get_api.restype = POINTER(Api)
        library.sparse_get_api.argtypes = [c_uint32]
        table = library.sparse_get_api(API_VERSION)
        if not table:
            raise Incompatible("the runtime library is older than this package")
        _api = table.contents
    return _api


def check(status):
    """Raises the exception for a status that is not OK."""
    if status == 0:
        return
    size = c_size_t(0)
    api().last_error(None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    api().last_error(buffer, ctypes.byref(size))
    message = buffer.value.decode("utf-8", "replace")
    raise BY_STATUS.get(status, SparseError)(message)
