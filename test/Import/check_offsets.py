"""Compares what the onnx.initializer ops of a module (read from standard input) name with the model's tensors.

    sparse-opt import model.onnx | check_offsets.py model.onnx
"""
import re
import sys

import numpy as np
import onnx
from onnx import numpy_helper

model = onnx.load(sys.argv[1])
tensors = {t.name: t for t in model.graph.initializer}
for node in model.graph.node:
    if node.op_type == "Constant" and node.attribute[0].name == "value":
        tensors.setdefault(node.output[0], node.attribute[0].t)
pattern = re.compile(r'file "(.*?)" offset (\d+) length (\d+) .*onnx.name = "(.*?)"')
checked = 0
for path, offset, length, name in pattern.findall(sys.stdin.read()):
    with open(path, "rb") as file:
        file.seek(int(offset))
        found = file.read(int(length))
    expected = np.ascontiguousarray(numpy_helper.to_array(tensors[name])).tobytes()
    assert found == expected, f"{name}: the bytes at {path}:{offset} are not those of the tensor"
    checked += 1
print(f"{checked} weights are where they should be")
