"""Weights and cache in bf16 agree with ONNX Runtime in f32 in the likeliest token."""

from collections.abc import Iterator

from common.ort import OrtDecoder
from report import Check
from safetensors.numpy import save_file
from setup import Setup
from smollm2_artifacts import DECOMPOSED

POSITIONS = 2000
WINDOWS = 4  # sequences of so many positions: of 2,000 alone chance moves the share by a few tenths of a percent
PREFILL = 1000  # the other half runs through decode steps
LEAST = 0.99


def run(setup: Setup) -> Iterator[Check]:
    decoder = OrtDecoder(setup.models / DECOMPOSED, setup.threads)
    answers: dict[str, list[dict]] = {"dense": [], "dense-bf16": []}
    path = setup.work / "onnxruntime.safetensors"
    for window in range(WINDOWS):
        ids = setup.ids[None, window * POSITIONS :][:, :POSITIONS]
        save_file({"ids": ids.copy(), "logits": decoder.run(ids, [500] * 3)}, path)
        for artifact, results in answers.items():
            results.append(setup.run("verify", artifact, "-r", path, "--prefill", PREFILL, "--atol", 1e30))
    path.unlink()
    for artifact, least in {"dense": 0.999, "dense-bf16": LEAST}.items():
        results = answers[artifact]
        shares = [answer["top1_agreement"] for answer in results]
        agreement = sum(shares) / WINDOWS
        figures = (
            f"top-1 {agreement:.3%} of {WINDOWS} x {POSITIONS} ({', '.join(f'{share:.2%}' for share in shares)}), "
            f"KL {sum(answer['kl_mean'] for answer in results) / WINDOWS:.2e}, "
            f"largest difference {max(answer['max_abs'] for answer in results):.2e}"
        )
        yield Check(f"agreement with ONNX Runtime, {artifact}", agreement >= least, figures)
