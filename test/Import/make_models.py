"""Writes one of the valid models of the import tests: make_models.py NAME DIRECTORY -> DIRECTORY/model.onnx."""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, shape=(2, "n"), dtype=F):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(directory, nodes, inputs=None, outputs=None, initializers=(), values=(), opset=18, functions=(), **kwargs):
    outputs = outputs or [value("y", None)]
    graph = helper.make_graph(nodes, "g", inputs if inputs is not None else [value("x")], outputs, list(initializers),
                              value_info=list(values))
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)
    path = os.path.join(directory, "model.onnx")
    onnx.save_model(model, path, **kwargs)


def node(op, inputs, outputs, name="", domain="", **attributes):
    return helper.make_node(op, inputs, outputs, name or None, domain=domain, **attributes)


def weight(name, shape, dtype=np.float32):
    return numpy_helper.from_array(np.arange(np.prod(shape)).reshape(shape).astype(dtype), name)


def basic(directory):
    """Small and large initializers, all results of an op with optional ones, a value used twice, a pass-through."""
    nodes = [
        node("MatMul", ["x", "w/big"], ["h"], "/mm"),
        node("Add", ["h", "bias"], ["s"], "/add"),
        node("LayerNormalization", ["s", "w/scale"], ["y"]),
        node("MatMul", ["y", "w/big"], ["z"]),
    ]
    save(directory, nodes, [value("x", (2, 300))], [value("y", (2, 300)), value("z", None), value("x", (2, 300))],
         [weight("w/big", (300, 300)), weight("bias", (300,)), weight("w/scale", (256,))], [value("h", ("b", 300))])


def names(directory):
    """Names that collide once they are made symbols, and one that the function has."""
    nodes = [node("Sum4", ["a b", "a/b", "main", "0x"], ["y"], "odd \x1b name")]
    save(directory, nodes, initializers=[weight(n, (600,)) for n in ("a b", "a/b", "main", "0x")])


def storage(directory):
    """Every way of storing a tensor: raw, packed, varints (no contiguous bytes), narrow types, external, empty."""
    large = [
        helper.make_tensor("floats", F, [600], np.arange(600, dtype=np.float32)),
        helper.make_tensor("doubles", TensorProto.DOUBLE, [600], np.arange(600, dtype=np.float64)),
        helper.make_tensor("int64s", I, [600], np.arange(600)),
        weight("raw", (600,)),
        weight("raw16", (600,), np.float16),
        weight("bool", (2000,), np.bool_),
    ]
    small = [
        helper.make_tensor("s_i8", TensorProto.INT8, [2], [-3, 4]),
        helper.make_tensor("s_u8", TensorProto.UINT8, [2], [3, 255]),
        helper.make_tensor("s_bool", B, [2], [True, False]),
        helper.make_tensor("s_f16", TensorProto.FLOAT16, [2], [1.5, -2.0]),
        helper.make_tensor("s_bf16", TensorProto.BFLOAT16, [2], [1.5, -2.0]),
        helper.make_tensor("s_u32", TensorProto.UINT32, [2], [1, 4294967295]),
        helper.make_tensor("s_scalar", F, [], [2.5]),
        helper.make_tensor("s_empty", F, [0, 4], []),
        numpy_helper.from_array(np.array([True, False, True]), "s_rawbool"),
    ]
    tensors = large + small
    outputs = [value(t.name, None, t.data_type) for t in tensors]
    save(directory, [], [], outputs, tensors)


def external(directory):
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["h2"]), node("Add", ["h2", "tiny"], ["y"])]
    os.makedirs(os.path.join(directory, "data"))
    save(directory, nodes, initializers=[weight("w", (30, 30)), weight("v", (30, 30)), weight("tiny", (3,))],
         save_as_external_data=True, location="data/weights.bin", size_threshold=0)


def linked(directory):
    """As a download cache stores it: the data is a link to a blob outside of the model's directory."""
    model = os.path.join(directory, "snapshot")
    os.makedirs(os.path.join(directory, "blobs"))
    os.makedirs(model)
    external(model)
    os.rename(os.path.join(model, "data/weights.bin"), os.path.join(directory, "blobs/1234"))
    os.symlink("../../blobs/1234", os.path.join(model, "data/weights.bin"))


def constants(directory):
    forms = dict(value_float=1.5, value_floats=[1.0, float("-inf")], value_int=7, value_ints=[1, 2, 3],
                 value=weight("", (2, 2)), value_string="s")
    nodes = [node("Constant", [], [name], **{name: v}) for name, v in forms.items()]
    nodes.append(node("Constant", [], ["large"], value=weight("", (20000,))))
    nodes.append(node("Constant", [], ["medium"], value=weight("", (600,))))
    nodes.append(node("Constant", [], ["no_ints"]))
    nodes[-1].attribute.append(helper.make_attribute("value_ints", [], attr_type=onnx.AttributeProto.INTS))
    names = [*forms, "large", "medium", "no_ints"]
    save(directory, nodes, [], [value(n, None, I if "int" in n else F) for n in names])


def old_forms(directory):
    """Opset 9 and 11 wrote as attributes what are operands today."""
    nodes = [
        node("Slice", ["x"], ["a"], starts=[1], ends=[3], axes=[0]),
        node("Unsqueeze", ["a"], ["b"], axes=[0]),
        node("Squeeze", ["b"], ["c"], axes=[0]),
        node("ReduceSum", ["c"], ["d"], axes=[1], keepdims=0),
        node("ReduceMean", ["c"], ["e"], axes=[-1]),
        node("Split", ["c"], ["f", "g"], axis=0, split=[1, 1]),
        node("Dropout", ["f"], ["h"], ratio=0.5),
        node("Softmax", ["x"], ["i"]),
        node("Softmax", ["h"], ["j"]),
        node("Softmax", ["h"], ["k"], axis=-1),
        node("Upsample", ["x", "x"], ["l"], mode="nearest"),
    ]
    save(directory, nodes, [value("x", (4, 8))], [value(n, None) for n in "deghijkl"], opset=9)


def generic(directory):
    """Operators and forms without a typed op."""
    nodes = [
        node("Conv", ["x", "x", ""], ["a", "b"], "/conv", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        node("GroupQueryAttention", ["x", "", "", "x"], ["c"], "/gqa", "com.microsoft", num_heads=4, scale=0.5),
        node("ArgMax", ["x"], ["d"]),
        node("Cast", ["x"], ["e"], to=1, future=1),
        node("Cast", ["x"], ["f"], to=I, round_mode="up"),
        node("Add", ["x", "x"], ["g"], domain="com.microsoft"),
        node("node", ["x"], ["h"]),
    ]
    save(directory, nodes, outputs=[value(n, None, I if n in "df" else F) for n in "abcdefgh"])


def types(directory):
    """Declared types: symbolic, unknown and zero dimensions, wrong declarations that are ignored."""
    inputs = [value("x", ("batch", None, 0, 4)), value("u", None), value("m", (-1, 3), B)]
    nodes = [
        node("Abs", ["x"], ["a"]),  # declared with another element type
        node("Abs", ["x"], ["b"]),  # declared with a rank beyond the limit
        node("Equal", ["x", "u"], ["c"]),
        node("Shape", ["x"], ["d"]),
        node("CastLike", ["m", "x"], ["e"]),
        node("Attention", ["u", "u", "u"], ["f", "", "g"], q_num_heads=2, kv_num_heads=2),
    ]
    values = [value("a", (1, 2), I), value("b", (1,) * 9), value("c", (1,), B)]
    outputs = [value(n, None, {"c": B, "d": I, "a": I}.get(n, F)) for n in "abcdefg"]
    save(directory, nodes, inputs, outputs, values=values, opset=23)


def unsorted(directory):
    chain = [("Neg", "c", "y", "third"), ("Exp", "x", "b", "first"), ("Abs", "b", "c", "second")]
    nodes = [node(op, [x], [y], name) for op, x, y, name in chain]
    save(directory, nodes)


def functions(directory):
    def make(name, inputs, outputs, nodes, attributes=(), overload="", defaults=(), domain="local"):
        function = helper.make_function(domain, name, inputs, outputs, nodes,
                                        [helper.make_opsetid("", 12), helper.make_opsetid("local", 1)], attributes,
                                        list(defaults), overload=overload)
        return function

    def reference(op, inputs, outputs, attribute, to, kind):
        result = node(op, inputs, outputs)
        a = result.attribute.add()
        a.name, a.ref_attr_name, a.type = attribute, to, kind
        return result

    INT = onnx.AttributeProto.INT
    inner = make("inner", ["a", "b"], ["r"], [
        reference("Gather", ["a", "b"], ["g"], "axis", "k", INT),
        # At opset 12 of the function, axes are an attribute; the model itself is at 18.
        node("Squeeze", ["g"], ["r"], axes=[0]),
    ], ["k"])
    outer = make("outer", ["a", "b", "c"], ["r", "s"], [
        reference("inner", ["a", "b"], ["t"], "k", "axis", INT),
        node("Clip", ["t", "", "c"], ["r"], "clip"),
        node("Abs", ["t"], ["s"]),
    ], defaults=[helper.make_attribute("axis", 1)])
    for n in outer.node:
        if n.op_type == "inner":
            n.domain = "local"
    first = make("pick", ["a"], ["r"], [node("Neg", ["a"], ["r"])])
    second = make("pick", ["a"], ["r"], [node("Exp", ["a"], ["r"])], overload="2")
    skip = make("SkipSimplifiedLayerNormalization", ["a", "b", "c"], ["r"], [node("Add", ["a", "b"], ["r"])],
                domain="com.microsoft")
    pick = node("pick", ["x"], ["p2"], "two", "local")
    pick.overload = "2"
    nodes = [
        node("outer", ["x", "i"], ["y", "z"], "call0", "local"),
        node("outer", ["x", "i", "x"], ["w"], "call1", "local", axis=0),
        node("pick", ["x"], ["p1"], "one", "local"),
        pick,
        node("SkipSimplifiedLayerNormalization", ["x", "x", "x"], ["q"], "typed", "com.microsoft"),
    ]
    outputs = [value(n, None) for n in ("y", "z", "w", "p1", "p2", "q")]
    save(directory, nodes, [value("x"), value("i", (1,), I)], outputs,
         functions=[outer, inner, first, second, skip])


def branches(directory):
    def graph(name, op, *initializers):
        nodes = [node(op, ["x", *[i.name for i in initializers]], ["same"], name)]
        return helper.make_graph(nodes, name, [], [value("same", None)], initializers)

    then, other = graph("then", "Add", weight("t", (1,))), graph("else", "Abs")
    nodes = [
        node("If", ["yes"], ["a"], "if0", then_branch=then, else_branch=other),
        node("If", ["no"], ["b"], "if1", then_branch=then, else_branch=other),
        node("If", ["c"], ["d"], "if2", then_branch=then, else_branch=other),
    ]
    flags = [numpy_helper.from_array(np.array(v), n) for n, v in (("yes", True), ("no", [False]))]
    save(directory, nodes, [value("x"), value("c", (), B)], [value(n, None) for n in "abd"], flags)


def default_input(directory):
    """An input with an initializer is a constant."""
    save(directory, [node("Add", ["x", "w"], ["y"])], [value("x"), value("w", (3,))], initializers=[weight("w", (3,))])


def large(directory):
    """Many nodes: time must grow with their number only."""
    count = 50_000
    nodes = [node("Abs", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    save(directory, nodes[::-1], [value("v0")], [value(f"v{count}", None)])


if __name__ == "__main__":
    os.makedirs(sys.argv[2])
    globals()[sys.argv[1]](sys.argv[2])
