"""What the example models share: one Llama builder, one module for each ONNX form of it."""
