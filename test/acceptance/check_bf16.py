"""Weights and cache in bf16 agree with ONNX Runtime in f32 in the likeliest token."""

from collections.abc import Iterator

from common.ort import OrtDecoder
from report import Check
from safetensors.numpy import save_file
from setup import Setup
from smollm2_artifacts import DECOMPOSED

POSITIONS = 2000
PREFILL = 1000  # the other half runs through decode steps
LEAST = 0.99


def run(setup: Setup) -> Iterator[Check]:
    path = setup.work / "onnxruntime.safetensors"
    if not path.exists():
        ids = setup.ids[None, :POSITIONS]
        logits = OrtDecoder(setup.models / DECOMPOSED, setup.threads).run(ids, [500] * 3)
        save_file({"ids": ids.copy(), "logits": logits}, path)
    for artifact, least in {"dense": 0.999, "dense-bf16": LEAST}.items():
        answer = setup.run("verify", artifact, "-r", path, "--prefill", PREFILL, "--atol", 1e30)
        agreement = answer["top1_agreement"]
        figures = (
            f"top-1 {agreement:.2%} of {answer['positions']}, KL {answer['kl_mean']:.2e}, "
            f"perplexity {answer['perplexity']:.4f} ({answer['perplexity_reference']:.4f}), "
            f"largest difference {answer['max_abs']:.2e}"
        )
        yield Check(f"agreement with ONNX Runtime, {artifact}", agreement >= least, figures)
