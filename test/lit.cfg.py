"""Configuration of the lit tests."""
import os
import shutil
import subprocess

import lit.formats
from lit.llvm import llvm_config

config.name = "sparse-opt"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "CMakeLists.txt", "lib"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.sparse_obj_root, "test")

llvm_config.with_system_environment(["HOME", "TMP", "TEMP"])
llvm_config.with_environment("PATH", [config.sparse_tools_dir, config.llvm_tools_dir], append_path=True)
# FileCheck, not, split-file, count.
llvm_config.use_default_substitutions()
tools = ["sparse-opt", "sparse-test-opt", "split-file"]
llvm_config.add_tool_substitutions(tools, [config.sparse_tools_dir, config.llvm_tools_dir])
# In front: the defaults name the Python that runs lit, which need not have any package.
config.substitutions.insert(0, ("%python", f'"{config.python}"'))

# Sanitizers reserve terabytes of addresses and take their time; code that isn't optimized takes some.
limits = "--no-limits" if config.sanitizers else "--seconds 3" if config.build_type == "Debug" else ""
config.substitutions.append(("%limits", limits))

# Tests that write ONNX files need the Python package.
if subprocess.run([config.python, "-c", "import numpy, onnx"], stderr=subprocess.DEVNULL).returncode == 0:
    config.available_features.add("onnx")

# Tests that compare with the oracles.
if subprocess.run([config.python, "-c", "import numpy, yaml"], stderr=subprocess.DEVNULL).returncode == 0:
    config.available_features.add("oracles")

# Assembling code of GPUs needs CUDA's ptxas, not a GPU.
if shutil.which("ptxas") or os.access("/usr/local/cuda/bin/ptxas", os.X_OK):
    config.available_features.add("ptxas")
