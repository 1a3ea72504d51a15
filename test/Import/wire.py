"""Writes ONNX files byte by byte, well-formed or not. Needs nothing but Python.

Field numbers are those of the ONNX schema; every function returns the bytes of one message.
"""
import struct

FLOAT, UINT8, INT32, INT64, STRING, BOOL = 1, 2, 6, 7, 8, 9
A_FLOAT, A_INT, A_STRING, A_TENSOR, A_GRAPH, A_FLOATS, A_INTS = 1, 2, 3, 4, 5, 6, 7


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(field, wire):
    return varint(field << 3 | wire)


def num(field, value):
    return tag(field, 0) + varint(value)


def data(field, value):
    value = value.encode() if isinstance(value, str) else value
    return tag(field, 2) + varint(len(value)) + value


def f32(field, value):
    return tag(field, 5) + struct.pack("<f", value)


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def i64s(*values):
    return struct.pack(f"<{len(values)}q", *values)


def tensor(name, dims=(), dtype=FLOAT, raw=None, extra=b""):
    out = b"".join(num(1, d) for d in dims) + num(2, dtype) + data(8, name)
    return out + (data(9, raw) if raw is not None else b"") + extra


def external(name, dims=(4,), extra=b"", **entries):
    """A float tensor with external data."""
    keys = b"".join(data(13, data(1, k) + data(2, v)) for k, v in entries.items())
    return tensor(name, dims, extra=keys + num(14, 1) + extra)


def ints(name, values):
    """An i64 vector."""
    return tensor(name, (len(values),), INT64, i64s(*values))


def attribute(name, kind, body=b""):
    return data(1, name) + body + (num(20, kind) if kind is not None else b"")


def int_attribute(name, value):
    return attribute(name, A_INT, num(3, value))


def node(op, inputs=("x",), outputs=("y",), name="n", attributes=(), domain=None):
    out = b"".join(data(1, v) for v in inputs) + b"".join(data(2, v) for v in outputs)
    out += data(3, name) + data(4, op) + b"".join(data(5, a) for a in attributes)
    return out + (data(7, domain) if domain is not None else b"")


def value(name, dims=(4,), dtype=FLOAT):
    shape = b"".join(data(1, data(2, d) if isinstance(d, str) else num(1, d)) for d in dims)
    return data(1, name) + data(2, data(1, num(1, dtype) + data(2, shape)))


def graph(nodes=(), inputs=None, outputs=None, initializers=(), extra=b""):
    inputs = [value("x")] if inputs is None else inputs
    outputs = [value("y")] if outputs is None else outputs
    out = b"".join(data(1, n) for n in nodes) + data(2, "g")
    out += b"".join(data(5, t) for t in initializers) + b"".join(data(11, v) for v in inputs)
    return out + b"".join(data(12, v) for v in outputs) + extra


def opset(domain="", version=18):
    return data(8, data(1, domain) + num(2, version))


def function(name, nodes, inputs=("a",), outputs=("b",), attributes=(), domain="local", opsets=None):
    out = data(1, name) + b"".join(data(4, v) for v in inputs) + b"".join(data(5, v) for v in outputs)
    out += b"".join(data(6, a) for a in attributes) + b"".join(data(7, n) for n in nodes)
    for d, v in opsets or [("", 18), ("local", 1)]:
        out += data(9, data(1, d) + num(2, v))
    return out + data(10, domain)


def model(graph_bytes=None, ir=10, opsets=None, functions=(), extra=b""):
    out = num(1, ir) if ir is not None else b""
    out += data(7, graph_bytes) if graph_bytes is not None else b""
    out += b"".join(opset(d, v) for d, v in (opsets if opsets is not None else [("", 18), ("local", 1)]))
    return out + b"".join(data(25, f) for f in functions) + extra
