"""The classes of malformed models: name -> (maker, expected diagnostic).

A maker takes a fresh directory and returns the bytes of model.onnx, after writing whatever else it wants there. The
expected text is a regular expression that the one line of diagnostics must contain after the file's name.
"""

import os

from wire import *

CLASSES = {}


def case(name, expect, *arguments):
    def register(maker):
        assert name not in CLASSES, name
        CLASSES[name] = (maker, expect, list(arguments))
        return maker

    return register


def simple(name, expect, maker):
    case(name, expect)(lambda directory: maker())


def one(node_bytes, **kwargs):
    return model(graph([node_bytes], **kwargs))


def weights(*tensors, nodes=None):
    """A model in which node n adds x and w."""
    return model(graph(nodes or [node("Add", ["x", "w"])], initializers=tensors))


GOOD = weights(tensor("w", (4,), raw=floats(1, 2, 3, 4)))
ADD = r"node 'n' \(#1\): error: "
W = r"initializer 'w': error: "

# --- The bytes -----------------------------------------------------------------------------------------------------

simple("empty_file", r": error: is empty", lambda: b"")
simple(
    "no_ir_version",
    r": error: is not an ONNX model: it has no ir_version",
    lambda: model(graph([node("Abs")]), ir=None),
)
simple("no_graph", r": error: is not an ONNX model: it has no graph", lambda: model(None))
simple("text_file", r"byte \d+: error: ", lambda: b'{"this": "is json"}\n')
simple("zeros", r"byte 1: error: field number out of range", lambda: bytes(4096))
simple("truncated_field", r"byte \d+: error: truncated: a field is longer", lambda: GOOD[: len(GOOD) // 2])
simple("truncated_number", r"byte \d+: error: truncated inside a number", lambda: GOOD + b"\x08\x80")
simple(
    "long_varint", r"byte \d+: error: a number of more than 64 bits", lambda: GOOD + tag(5, 0) + b"\x80" * 10 + b"\x01"
)
simple("field_number_zero", r"byte \d+: error: field number out of range", lambda: GOOD + b"\x00\x01")
simple("field_number_huge", r"byte \d+: error: field number out of range", lambda: GOOD + varint(1 << 35) + b"\x01")
simple("wire_type_group", r"byte \d+: error: a protobuf group", lambda: GOOD + tag(40, 3))
simple("wire_type_end_group", r"byte \d+: error: a protobuf group", lambda: GOOD + tag(40, 4))
simple("wire_type_6", r"byte \d+: error: an invalid protobuf wire type", lambda: GOOD + tag(40, 6))
simple("wire_type_7", r"byte \d+: error: an invalid protobuf wire type", lambda: GOOD + tag(40, 7))
simple(
    "wrong_wire_type",
    r"byte \d+: error: field 7 of a ModelProto has the wrong wire type 0",
    lambda: model(None, extra=num(7, 1)),
)
simple(
    "wrong_wire_type_nested",
    r"byte \d+: error: field 4 of a NodeProto has the wrong wire type 0",
    lambda: one(node("Abs") + num(4, 3)),
)
simple(
    "packed_of_odd_length",
    r"byte \d+: error: field 4 of a TensorProto has the wrong wire type",
    lambda: weights(tensor("w", (1,), extra=data(4, b"12345"))),
)
simple(
    "graph_twice",
    r"byte \d+: error: field 7 of a ModelProto occurs twice",
    lambda: GOOD + data(7, graph([node("Abs")])),
)
simple(
    "huge_repeated_count",
    r"byte \d+: error: truncated: a field is longer",
    lambda: weights(tensor("w", (4,), extra=tag(4, 2) + varint(1 << 60))),
)
simple(
    "name_not_utf8",
    r"byte \d+: error: field 1 of a NodeProto is not UTF-8 text",
    lambda: one(node("Abs", [b"\xff\xfe"])),
)
simple(
    "name_with_nul", r"byte \d+: error: field 3 of a NodeProto is not UTF-8 text", lambda: one(node("Abs", name="a\0b"))
)
simple(
    "name_too_long", r"byte \d+: error: a name of 5000 bytes; at most 4096", lambda: one(node("Abs", name="a" * 5000))
)


@case("subgraph_bomb", r"byte \d+: error: subgraphs nest deeper than 16 levels")
def subgraph_bomb(directory):
    inner = graph([node("Abs")], inputs=[])
    for _ in range(40):
        inner = graph([node("If", ["x"], attributes=[attribute("then_branch", A_GRAPH, data(6, inner))])], inputs=[])
    return model(inner)


@case("type_bomb", r"byte \d+: error: messages nest deeper than 96 levels")
def type_bomb(directory):
    kind = data(1, num(1, 1))
    for _ in range(5000):
        kind = data(4, data(1, kind))
    return one(node("Abs"), inputs=[data(1, "x") + data(2, kind)])


simple("too_many_nodes", r"byte \d+: error: more than 1000000 nodes", lambda: model(data(1, b"") * 1_000_001))
simple("too_many_tensors", r"byte \d+: error: more than 100000 tensors", lambda: model(data(5, b"") * 100_001))
simple("too_many_messages", r"byte \d+: error: more than 16777216 messages", lambda: model(data(13, b"") * 16_777_217))

# --- Model and opsets ----------------------------------------------------------------------------------------------

simple("ir_version_old", r": error: has IR version 2", lambda: model(graph([node("Abs")]), ir=2))
simple("ir_version_negative", r": error: has IR version -1", lambda: model(graph([node("Abs")]), ir=-1))
simple("ir_version_huge", r": error: has IR version \d+", lambda: model(graph([node("Abs")]), ir=1 << 62))
simple(
    "opset_missing",
    ADD + r"uses operator 'Abs' of domain '', which opset_import does not list",
    lambda: model(graph([node("Abs")]), opsets=[]),
)
simple("opset_zero", r": error: imports opset 0 of domain ''", lambda: model(graph([node("Abs")]), opsets=[("", 0)]))
simple(
    "opset_negative", r": error: imports opset -3 of domain ''", lambda: model(graph([node("Abs")]), opsets=[("", -3)])
)
simple(
    "opset_huge",
    r": error: imports opset \d+ of domain ''",
    lambda: model(graph([node("Abs")]), opsets=[("", 1 << 40)]),
)
simple(
    "opset_twice",
    r": error: imports domain '' twice",
    lambda: model(graph([node("Abs")]), opsets=[("", 18), ("ai.onnx", 17)]),
)
simple(
    "unknown_domain",
    ADD + r"uses operator 'Foo' of domain 'who\.knows', which opset_import",
    lambda: one(node("Foo", domain="who.knows")),
)
simple("no_outputs", r": error: has a graph without outputs", lambda: one(node("Abs"), outputs=[]))
simple(
    "sparse_initializer",
    r": error: has sparse initializers",
    lambda: one(node("Abs"), extra=data(15, data(1, tensor("v", (0,))))),
)

# --- Values and nodes ----------------------------------------------------------------------------------------------

simple("input_without_name", r"input '': error: has no name", lambda: one(node("Abs"), inputs=[value("")]))
simple("input_without_type", r"input 'x': error: has no type", lambda: one(node("Abs"), inputs=[data(1, "x")]))
simple(
    "input_sequence",
    r"input 'x': error: is no tensor",
    lambda: one(node("Abs"), inputs=[data(1, "x") + data(2, data(4, data(1, data(1, num(1, 1)))))]),
)
simple(
    "input_type_unknown",
    r"input 'x': error: has element type 77 \(unknown\)",
    lambda: one(node("Abs"), inputs=[value("x", dtype=77)]),
)
simple(
    "input_dimension_huge",
    r"input 'x': error: has a dimension of 4611686018427387904",
    lambda: one(node("Abs"), inputs=[value("x", (1 << 62,))]),
)
simple(
    "input_rank_huge",
    r"input 'x': error: has rank 9; at most 8",
    lambda: one(node("Abs"), inputs=[value("x", (1,) * 9)]),
)
simple("input_twice", r"input 'x': error: is declared twice", lambda: one(node("Abs"), inputs=[value("x"), value("x")]))
simple(
    "output_twice", r"output 'y': error: is declared twice", lambda: one(node("Abs"), outputs=[value("y"), value("y")])
)
simple(
    "output_missing",
    r"output 'z': error: reads 'z', which nothing produces",
    lambda: one(node("Abs"), outputs=[value("z")]),
)
simple("empty_op_type", ADD + r"has no operator type", lambda: one(node("")))
simple("missing_producer", ADD + r"reads 'z', which nothing produces", lambda: one(node("Abs", ["z"])))
simple(
    "value_twice",
    r"node 'm' \(#2\): error: produces 'y', which another node produces as well",
    lambda: model(graph([node("Abs"), node("Abs", name="m")])),
)
simple(
    "output_is_input",
    ADD + r"produces 'x', which is an input",
    lambda: one(node("Abs", ["x"], ["x"]), outputs=[value("x")]),
)
simple(
    "output_is_initializer",
    ADD + r"produces 'w', which is an input or an initializer",
    lambda: weights(tensor("w", (1,), raw=floats(1)), nodes=[node("Abs", ["x"], ["w"])]),
)
simple("self_loop", ADD + r"is part of a cycle", lambda: one(node("Add", ["x", "y"])))
simple(
    "cycle",
    r"node '[ab]' \(#[12]\): error: is part of a cycle",
    lambda: model(graph([node("Add", ["x", "y"], ["z"], "a"), node("Abs", ["z"], ["y"], "b")])),
)


@case("cycle_of_many", r"node '\d+' \(#\d+\): error: is part of a cycle")
def cycle_of_many(directory):
    count = 100_000
    nodes = [node("Abs", [f"v{i}"], [f"v{i + 1}"], str(i)) for i in range(count)]
    return model(graph(nodes + [node("Add", ["x", f"v{count}"], ["v0"], "999999")], outputs=[value("v1")]))


simple("variadic_absent", ADD + r"is a Max with an absent input", lambda: one(node("Max", ["x", ""])))
simple(
    "variadic_empty",
    ADD + r"is a Concat without inputs",
    lambda: one(node("Concat", [], attributes=[int_attribute("axis", 0)])),
)
simple("operand_missing", ADD + r".*operand #1 must be tensor", lambda: one(node("Add", ["x"])))
simple("operand_none", ADD + r".*operand #0 must be tensor", lambda: one(node("Add", [])))

# --- Attributes ----------------------------------------------------------------------------------------------------

simple(
    "attribute_twice",
    ADD + r"has attribute 'axis' twice",
    lambda: one(node("Softmax", attributes=[int_attribute("axis", 0)] * 2)),
)
simple(
    "attribute_without_name",
    ADD + r"has an attribute without a name",
    lambda: one(node("Softmax", attributes=[int_attribute("", 0)])),
)
simple(
    "attribute_type_mismatch",
    ADD + r"has attribute 'axis' whose value is not of its type INT",
    lambda: one(node("Softmax", attributes=[attribute("axis", A_INT, f32(2, 1.0))])),
)
simple(
    "attribute_of_wrong_type",
    ADD + r"is a Softmax whose attribute 'axis' failed",
    lambda: one(node("Softmax", attributes=[attribute("axis", A_FLOAT, f32(2, 1.0))])),
)
simple(
    "attribute_type_unknown",
    ADD + r"has attribute 'axis' with a missing or unknown type",
    lambda: one(node("Softmax", attributes=[attribute("axis", 99, num(3, 1))])),
)
simple(
    "attribute_type_missing",
    ADD + r"has attribute 'axis' with a missing or unknown type",
    lambda: one(node("Softmax", attributes=[attribute("axis", None, num(3, 1))])),
)
simple(
    "attribute_without_value",
    ADD + r"has attribute 'value' of type TENSOR without a value",
    lambda: one(node("Constant", [], attributes=[attribute("value", A_TENSOR)])),
)
simple("attribute_required", ADD + r".*requires attribute 'to'", lambda: one(node("Cast")))
simple(
    "attribute_nan",
    ADD + r"has attribute 'alpha' that is not finite",
    lambda: one(node("Gemm", ["x", "x"], attributes=[attribute("alpha", A_FLOAT, f32(2, float("nan")))])),
)
simple(
    "attribute_infinite",
    ADD + r"has attribute 'alpha' that is not finite",
    lambda: one(node("Gemm", ["x", "x"], attributes=[attribute("alpha", A_FLOAT, f32(2, float("inf")))])),
)
simple(
    "attribute_reference_outside",
    ADD + r"refers to attribute 'a' of a function but is not inside of one",
    lambda: one(node("Softmax", attributes=[attribute("axis", A_INT, data(21, "a"))])),
)
simple(
    "constant_empty",
    ADD + r"is a Constant with 0 inputs, 1 outputs and 0 attributes",
    lambda: one(node("Constant", [])),
)
simple(
    "constant_wrong_type",
    ADD + r"is a Constant with attribute 'value_int' of the wrong type",
    lambda: one(node("Constant", [], attributes=[attribute("value_int", A_FLOAT, f32(2, 1.0))])),
)
simple(
    "cast_to_unknown",
    ADD + r"has a result 'y' whose element type can't be told",
    lambda: one(node("Cast", attributes=[int_attribute("to", 99)]), outputs=[data(1, "y")]),
)
simple(
    "rms_epsilon_negative",
    ADD + r".*epsilon is",
    lambda: model(
        graph([node("RMSNormalization", ["x", "x"], attributes=[attribute("epsilon", A_FLOAT, f32(2, -1.0))])]),
        opsets=[("", 23)],
    ),
)

# --- Tensors -------------------------------------------------------------------------------------------------------

simple("dims_negative", W + r"has a dimension of -4", lambda: weights(tensor("w", (-4,), raw=b"")))
simple("dims_huge", W + r"has a dimension of 4611686018427387904", lambda: weights(tensor("w", (1 << 62,), raw=b"")))
simple(
    "dims_product_overflow",
    W + r"needs more than \d+ bytes for its shape",
    lambda: weights(tensor("w", (1 << 40, 1 << 40, 1 << 40), raw=b"")),
)
simple(
    "dims_overflow_to_zero",
    W + r"needs more than \d+ bytes for its shape",
    lambda: weights(tensor("w", (1 << 32, 1 << 32), raw=b"")),
)
simple("rank_huge", W + r"has rank 9; at most 8", lambda: weights(tensor("w", (1,) * 9, raw=floats(1))))
simple(
    "raw_too_short",
    W + r"holds 12 bytes of data but its type 'tensor<4xf32>' needs 16",
    lambda: weights(tensor("w", (4,), raw=floats(1, 2, 3))),
)
simple(
    "raw_too_long",
    W + r"holds 20 bytes of data but its type 'tensor<4xf32>' needs 16",
    lambda: weights(tensor("w", (4,), raw=floats(1, 2, 3, 4, 5))),
)
simple("data_missing", W + r"holds 0 bytes of data", lambda: weights(tensor("w", (4,))))
simple(
    "raw_and_typed",
    W + r"holds its data twice",
    lambda: weights(tensor("w", (1,), raw=floats(1), extra=data(4, floats(1)))),
)
simple(
    "two_typed",
    W + r"holds its data twice",
    lambda: weights(tensor("w", (1,), extra=data(4, floats(1)) + data(7, varint(1)))),
)
simple(
    "typed_wrong_field",
    W + r"holds its data in a field for another element type than FLOAT",
    lambda: weights(tensor("w", (1,), extra=data(7, varint(1)))),
)
simple(
    "typed_count",
    W + r"holds 3 elements but its type 'tensor<4xf32>' needs 4",
    lambda: weights(tensor("w", (4,), extra=data(4, floats(1, 2, 3)))),
)
simple(
    "typed_out_of_range",
    W + r"has an element outside 0 to 255, the range of UINT8",
    lambda: weights(tensor("w", (1,), UINT8, extra=data(5, varint(300)))),
)
simple("data_type_zero", W + r"has element type 0 \(UNDEFINED\)", lambda: weights(tensor("w", (1,), 0, raw=floats(1))))
simple(
    "data_type_unknown",
    W + r"has element type 1000 \(unknown\)",
    lambda: weights(tensor("w", (1,), 1000, raw=floats(1))),
)
simple(
    "data_type_string",
    W + r"has element type 8 \(STRING\)",
    lambda: weights(tensor("w", (1,), STRING, extra=data(6, "s"))),
)
simple(
    "segment", W + r"is stored in segments", lambda: weights(tensor("w", (1,), raw=floats(1), extra=data(3, num(1, 0))))
)
simple("initializer_twice", W + r"is defined twice", lambda: weights(*[tensor("w", (1,), raw=floats(1))] * 2))
simple(
    "initializer_without_name", r"initializer '': error: has no name", lambda: weights(tensor("", (1,), raw=floats(1)))
)
simple(
    "constant_tensor_short",
    ADD + r"holds 4 bytes of data",
    lambda: one(
        node("Constant", [], attributes=[attribute("value", A_TENSOR, data(5, tensor("", (2,), raw=floats(1))))])
    ),
)

# --- Functions and subgraphs ---------------------------------------------------------------------------------------

CALL = node("f", domain="local")


def calls(*functions, nodes=(CALL,)):
    return model(graph(nodes), functions=functions)


simple(
    "function_recursive",
    r"function 'local:f': error: calls itself",
    lambda: calls(function("f", [node("f", ["a"], ["b"], domain="local")])),
)
simple(
    "functions_mutually_recursive",
    r"function 'local:f': error: calls itself",
    lambda: calls(
        function("f", [node("h", ["a"], ["b"], domain="local")]),
        function("h", [node("f", ["a"], ["b"], domain="local")]),
    ),
)
simple(
    "function_twice",
    r"function 'local:f': error: is defined twice",
    lambda: calls(*[function("f", [node("Abs", ["a"], ["b"])])] * 2),
)
simple("function_without_name", r"function 'local:': error: has no name", lambda: calls(function("", [])))
simple(
    "function_arity",
    ADD + r"has 2 inputs and 1 outputs but the function 'f' has 1 and 1",
    lambda: calls(function("f", [node("Abs", ["a"], ["b"])]), nodes=[node("f", ["x", "x"], domain="local")]),
)
simple(
    "function_output_missing",
    ADD + r"reads 'b', which nothing produces",
    lambda: calls(function("f", [node("Abs", ["a"], ["c"])])),
)
simple(
    "function_sees_only_inputs",
    r"node 'n/n' \(#1\): error: reads 'x', which nothing produces",
    lambda: calls(function("f", [node("Abs", ["x"], ["b"])])),
)
simple(
    "function_attribute_type",
    r"node 'n/n' \(#1\): error: takes attribute 'axis' from the call, which gives it another type",
    lambda: calls(
        function(
            "f", [node("Softmax", ["a"], ["b"], attributes=[attribute("axis", A_INT, data(21, "k"))])], attributes=["k"]
        ),
        nodes=[node("f", domain="local", attributes=[attribute("k", A_FLOAT, f32(2, 1.0))])],
    ),
)


@case("function_bomb", r": error: has more than 1000000 nodes after inlining")
def function_bomb(directory):
    functions = [function("f0", [node("Abs", ["a"], ["b"])])]
    for i in range(1, 30):
        twice = [node(f"f{i - 1}", ["a"], ["m"], domain="local"), node(f"f{i - 1}", ["m"], ["b"], domain="local")]
        functions.append(function(f"f{i}", twice))
    return model(graph([node("f29", domain="local")]), functions=functions)


@case("function_chain", r"error: functions call each other deeper than 32 levels")
def function_chain(directory):
    functions = [function("f0", [node("Abs", ["a"], ["b"])])]
    for i in range(1, 2000):
        functions.append(function(f"f{i}", [node(f"f{i - 1}", ["a"], ["b"], domain="local")]))
    return model(graph([node("f1999", domain="local")]), functions=functions[::-1])


def branch(*outputs):
    body = graph([node("Abs", ["x"], ["r"])], inputs=[], outputs=[value(o) for o in outputs])
    return data(6, body)


def if_node(then, other):
    return node(
        "If", ["x"], attributes=[attribute("then_branch", A_GRAPH, then), attribute("else_branch", A_GRAPH, other)]
    )


simple(
    "if_outputs_mismatch",
    ADD + r"is an If with 1 outputs but a branch has 2",
    lambda: one(if_node(branch("r"), branch("r", "r"))),
)
simple(
    "if_without_branch",
    ADD + r"is an If, which needs one input, a then_branch and an else_branch",
    lambda: one(node("If", ["x"], attributes=[attribute("then_branch", A_GRAPH, branch("r"))])),
)
simple(
    "if_branch_captures_nothing",
    ADD + r"reads 'q', which nothing produces",
    lambda: one(if_node(branch("r"), branch("q"))),
)

# --- Constant operands ---------------------------------------------------------------------------------------------


def with_ints(op, values, inputs=("x", "w"), **kwargs):
    return weights(ints("w", values), nodes=[node(op, inputs, **kwargs)])


simple(
    "reshape_two_inferred",
    ADD + r"is a Reshape with more than one dimension of -1",
    lambda: with_ints("Reshape", [-1, -1]),
)
simple("reshape_negative", ADD + r"is a Reshape to a dimension of -2", lambda: with_ints("Reshape", [-2]))
simple(
    "reshape_copy_beyond_rank",
    ADD + r"is a Reshape that copies dimension 1 of an input of rank 1",
    lambda: with_ints("Reshape", [4, 0]),
)
simple(
    "reshape_allowzero",
    ADD + r"is a Reshape with allowzero and dimensions of both 0 and -1",
    lambda: with_ints("Reshape", [0, -1], attributes=[int_attribute("allowzero", 1)]),
)
simple("gather_out_of_range", ADD + r"is a Gather with index 4 into a dimension of 4", lambda: with_ints("Gather", [4]))
simple(
    "gather_axis",
    ADD + r"is a Gather along axis 3 of an input of rank 1",
    lambda: with_ints("Gather", [0], attributes=[int_attribute("axis", 3)]),
)
simple(
    "slice_step_zero",
    ADD + r"is a Slice with a step of 0",
    lambda: with_ints("Slice", [0], inputs=("x", "w", "w", "w", "w")),
)
simple(
    "slice_step_minimum",
    ADD + r"is a Slice with a step of -9223372036854775808",
    lambda: weights(ints("w", [0]), ints("s", [-1 << 63]), nodes=[node("Slice", ["x", "w", "w", "w", "s"])]),
)
simple("expand_incompatible", ADD + r"is a Expand of a dimension of 4 to 3", lambda: with_ints("Expand", [2, 3]))
simple("expand_negative", ADD + r"is a Expand to a dimension of -1", lambda: with_ints("Expand", [-1]))
simple(
    "transpose_repeated",
    ADD + r"is a Transpose whose perm is no permutation",
    lambda: one(node("Transpose", attributes=[attribute("perm", A_INTS, num(8, 0) + num(8, 0))])),
)

# --- External data -------------------------------------------------------------------------------------------------


def external_case(name, expect, prepare=None, arguments=(), dims=(4,), extra=b"", **entries):
    def maker(directory):
        if prepare:
            prepare(directory)
        return weights(external("w", dims, extra, **entries))

    case(name, expect, *arguments)(maker)


def write(name, size=16):
    def prepare(directory):
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(bytes(size))

    return prepare


def linked(target, name, make=os.symlink):
    """w.bin outside of the model's directory, and a link to it."""

    def prepare(directory):
        with open(os.path.join(directory, "..", "outside.bin"), "wb") as file:
            file.write(bytes(16))
        write("inside.bin")(directory)
        make(target if make is os.symlink else os.path.join(directory, target), os.path.join(directory, name))

    return prepare


external_case("external_missing", W + r".*external data 'no\.bin' can't be opened", location="no.bin")
external_case("external_no_location", W + r".*is external but names no location", offset="0")
external_case("external_empty", W + r".*has an external data location '' that is empty", location="")
external_case(
    "external_absolute", W + r".*has an external data location '/etc/passwd' that is absolute", location="/etc/passwd"
)
external_case("external_parent", W + r".*that contains '\.\.'", location="../outside.bin")
external_case("external_parent_inside", W + r".*that contains '\.\.'", location="a/../../outside.bin")
external_case("external_backslash", W + r".*that contains a backslash", location="..\\outside.bin")
external_case("external_drive", W + r".*that starts with a drive letter", location="C:outside.bin")
external_case("external_nul", W + r".*that contains a NUL byte", location="w.bin\0.txt")
external_case(
    "external_directory", W + r".*is not a regular file", prepare=lambda d: os.mkdir(os.path.join(d, "w")), location="w"
)
external_case("external_directory_slash", W + r".*that names a directory", location="w/")
external_case(
    "external_fifo", W + r".*is not a regular file", prepare=lambda d: os.mkfifo(os.path.join(d, "w")), location="w"
)
external_case("external_device_name", W + r".*that is absolute", location="/dev/zero")
external_case(
    "external_symlink",
    W + r".*is reached through a symbolic link; .*--allow-links",
    prepare=linked("inside.bin", "w"),
    location="w",
)
external_case(
    "external_symlink_escape",
    W + r".*is reached through a symbolic link",
    prepare=linked("../outside.bin", "w"),
    location="w",
)
external_case(
    "external_symlink_escape_allowed",
    W + r".*leads outside the model's directory; .*--external-data-root",
    prepare=linked("../outside.bin", "w"),
    arguments=["--allow-links"],
    location="w",
)
external_case(
    "external_symlink_absolute_allowed",
    W + r".*leads outside the model's directory",
    prepare=linked("/etc/passwd", "w"),
    arguments=["--allow-links"],
    location="w",
)
external_case(
    "external_symlink_directory",
    W + r".*is reached through a symbolic link",
    prepare=linked("..", "up"),
    location="up/outside.bin",
)
external_case(
    "external_symlink_loop",
    W + r".*is reached through a symbolic link",
    prepare=linked("w", "w"),
    arguments=["--allow-links"],
    location="w",
)
external_case(
    "external_magic_link",
    W + r".*(is reached through a symbolic link|can't be opened)",
    prepare=linked("/proc/self/root/etc/passwd", "w"),
    location="w",
)
external_case(
    "external_hard_link",
    W + r".*has several hard links; .*--allow-links",
    prepare=linked("inside.bin", "w", os.link),
    location="w",
)
external_case(
    "external_short",
    W + r".*needs 16 bytes at offset 0 of 'w\.bin', which has 15",
    prepare=write("w.bin", 15),
    location="w.bin",
)
external_case(
    "external_offset_beyond",
    W + r".*needs 16 bytes at offset 17",
    prepare=write("w.bin"),
    location="w.bin",
    offset="17",
)
external_case(
    "external_offset_overflow",
    W + r".*needs 16 bytes at offset 18446744073709551615",
    prepare=write("w.bin"),
    location="w.bin",
    offset="18446744073709551615",
)
external_case(
    "external_offset_too_big",
    W + r".*offset '18446744073709551616', which is no unsigned",
    prepare=write("w.bin"),
    location="w.bin",
    offset="18446744073709551616",
)
external_case(
    "external_offset_negative",
    W + r".*offset '-1', which is no unsigned",
    prepare=write("w.bin"),
    location="w.bin",
    offset="-1",
)
external_case(
    "external_offset_text",
    W + r".*offset '0x10', which is no unsigned",
    prepare=write("w.bin", 64),
    location="w.bin",
    offset="0x10",
)
external_case(
    "external_length_wrong",
    W + r".*names 15 bytes of external data but its type needs 16",
    prepare=write("w.bin"),
    location="w.bin",
    length="15",
)
external_case(
    "external_length_empty",
    W + r".*length '', which is no unsigned",
    prepare=write("w.bin"),
    location="w.bin",
    length="",
)
external_case(
    "external_key_twice",
    W + r".*gives the location of its external data twice",
    prepare=write("w.bin"),
    location="w.bin",
    extra=data(13, data(1, "location") + data(2, "v.bin")),
)
external_case(
    "external_and_raw",
    W + r".*names external data but holds data as well",
    prepare=write("w.bin"),
    location="w.bin",
    extra=data(9, floats(1, 2, 3, 4)),
)
external_case("external_zero_bytes_missing", W + r".*can't be opened", dims=(0,), location="no.bin")


@case("external_attribute", ADD + r"has an attribute with external data, which only initializers may have")
def external_attribute(directory):
    write("w.bin")(directory)
    t = external("w", location="w.bin")
    return one(node("ConstantOfShape", ["x"], attributes=[attribute("value", A_TENSOR, data(5, t))]))


@case(
    "external_root_elsewhere",
    W + r".*the model's directory is not inside the external data root",
    "--external-data-root=/usr",
)
def external_root_elsewhere(directory):
    write("w.bin")(directory)
    return weights(external("w", location="w.bin"))
